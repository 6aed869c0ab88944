--TEST--
stop() inside a callback makes run() return
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->after(0, function () use ($server) {
    $server->stop();
    echo "stopping\n";
});
$server->run();
var_dump($server->isRunning());
--EXPECT--
stopping
bool(false)
