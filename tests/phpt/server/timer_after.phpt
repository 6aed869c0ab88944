--TEST--
after() runs its callback once, and timers run in the order in which they are due
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->start();
$server->after(0.06, function () { echo "third\n"; });
$server->after(0.03, function () { echo "second\n"; });
$server->after(0, function () { echo "first\n"; });
$last = false;
$server->after(0.1, function () use (&$last) { $last = true; });
pump($server, function () use (&$last) { return $last; });
--EXPECT--
first
second
third
