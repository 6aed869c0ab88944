--TEST--
poll() waits for an event up to the given time, and no longer
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->start();
$start = microtime(true);
var_dump($server->poll(0.2));
$took = microtime(true) - $start;
var_dump($took >= 0.19 && $took < 9.0);

$server->after(0.05, fn () => 1);
$start = microtime(true);
var_dump($server->poll(20.0));
var_dump(microtime(true) - $start < 15.0);
--EXPECT--
int(0)
bool(true)
int(1)
bool(true)
