--TEST--
The payload of a ping has at most 125 bytes
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onOpen(function ($c) {
    echo thrown(fn () => $c->ping(str_repeat('x', 126)), '125'), "\n";
    var_dump($c->isOpen());
});
$server->start();
$client = Client::of($server)->open();
pump($server, fn () => count($server) === 1);
--EXPECT--
ValueError
bool(true)
