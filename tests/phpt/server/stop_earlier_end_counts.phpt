--TEST--
When stop() is called repeatedly, the earliest end of the grace periods applies
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(closeTimeout: 60));
$server->start();
$client = Client::of($server)->open();
pump($server, fn () => count($server) === 1);
$start = microtime(true);
$server->stop(60);
$server->stop(0);
$server->stop(60);
pump($server, fn () => !$server->isRunning());
var_dump(microtime(true) - $start < 9.0);
--EXPECT--
bool(true)
