--TEST--
onClose gets 1006 when the peer vanishes
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onClose(function ($c, int $code, string $reason) { echo "onClose $code\n"; });
$server->start();
$client = Client::of($server)->open();
pump($server, fn () => count($server) === 1);
$client->drop();
pump($server, fn () => count($server) === 0);
$client = Client::of($server)->open();
pump($server, fn () => count($server) === 1);
$client->raw("\x81\x85abc")->drop(); // in the middle of a frame
pump($server, fn () => count($server) === 0);
var_dump($server->stats()['abnormal']);
--EXPECT--
onClose 1006
onClose 1006
int(2)
