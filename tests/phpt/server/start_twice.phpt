--TEST--
start() on a running server does nothing
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
var_dump($server->isRunning());
$server->start();
$address = $server->addresses();
$server->start();
var_dump($server->isRunning(), $server->addresses() === $address);
--EXPECT--
bool(false)
bool(true)
bool(true)
