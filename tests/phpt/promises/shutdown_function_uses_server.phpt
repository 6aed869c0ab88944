--TEST--
After exit() in a callback, shutdown functions and destructors can still call the server
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/child.inc';

$child = Child::code(<<<'PHP'
    class Last { public function __construct(private $server) {} public function __destruct() { $this->server->stop(); echo "destructor\n"; } }
    $server = new Sprocket\Server('ws://127.0.0.1:0');
    $last = new Last($server);
    register_shutdown_function(function () use ($server) {
        $server->stop(0);
        foreach (['poll', 'stats', 'addresses', 'connections', 'isRunning'] as $method) {
            try {
                $server->$method();
            } catch (Sprocket\Exception $e) {
            }
        }
        echo "shutdown\n";
    });
    $server->after(0, fn () => exit(3));
    $server->run();
    PHP);
echo $child->wait(), "\n", $child->output;
--EXPECT--
3
shutdown
destructor
