--TEST--
cancel() cancels a timer, and returns whether there was one
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->start();
$ran = [];
$first = $server->after(0.01, function () use (&$ran) { $ran[] = 'first'; });
$second = $server->after(0.02, function () use (&$ran) { $ran[] = 'second'; });
var_dump($first > 0, $first !== $second, $server->cancel($first), $server->cancel($first));
pump($server, function () use (&$ran) { return $ran !== []; });
var_dump($ran, $server->cancel($second), $server->cancel(0), $server->cancel(-1), $server->cancel(PHP_INT_MAX));
--EXPECT--
bool(true)
bool(true)
bool(true)
bool(false)
array(1) {
  [0]=>
  string(6) "second"
}
bool(false)
bool(false)
bool(false)
bool(false)
