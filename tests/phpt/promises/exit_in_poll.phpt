--TEST--
exit() in a callback under poll() ends the script as well
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/child.inc';

$child = Child::code(<<<'PHP'
    register_shutdown_function(function () use (&$server) { echo "shutdown ", count($server->connections()), "\n"; });
    $server = new Sprocket\Server('ws://127.0.0.1:0');
    $server->after(0, fn () => exit(9));
    $server->start();
    while (true) {
        $server->poll(0.1);
        echo "polled\n";
    }
    PHP);
echo $child->wait(), "\n", $child->output;
--EXPECT--
9
shutdown 0
