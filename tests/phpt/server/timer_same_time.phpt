--TEST--
Timers that are due at the same time run in the order in which they were set
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->start();
$ran = [];
for ($i = 1; $i <= 50; $i++) {
    $server->after(0, function () use (&$ran, $i) { $ran[] = $i; });
}
pump($server, function () use (&$ran) { return count($ran) === 50; });
var_dump($ran === range(1, 50));
--EXPECT--
bool(true)
