--TEST--
exit() in onStart ends the script before any worker starts
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/child.inc';

$child = Child::code(<<<'PHP'
    register_shutdown_function(fn () => print("shutdown\n"));
    $server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(workers: 2));
    $server->onWorkerStart(fn () => print("worker\n"));
    $server->onStart(fn () => exit(3));
    $server->run();
    PHP);
echo $child->wait(), ' ', $child->output;
--EXPECT--
3 shutdown
