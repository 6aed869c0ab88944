--TEST--
A timer can cancel another one that is due at the same moment
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->start();
$server->after(0, function () use ($server, &$second) { var_dump($server->cancel($second)); });
$second = $server->after(0, function () { echo "not to be reached\n"; });
$over = false;
$server->after(0.05, function () use (&$over) { $over = true; });
pump($server, function () use (&$over) { return $over; });
--EXPECT--
bool(true)
