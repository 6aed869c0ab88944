--TEST--
A client that does not answer the close is cut after the grace period
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(closeTimeout: 60));
$server->onClose(function ($c, int $code) { echo "onClose $code\n"; });
$server->start();
$client = Client::of($server)->open();
pump($server, fn () => count($server) === 1);
$start = microtime(true);
$server->stop(0.2);
pump($server, fn () => !$server->isRunning());
$took = microtime(true) - $start;
var_dump($took > 0.15 && $took < 9.0);
$client->ended();
--EXPECT--
onClose 1006
bool(true)
