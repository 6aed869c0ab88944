--TEST--
Timers refuse times that are out of range
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
foreach ([-1.0, NAN, INF] as $seconds) {
    echo thrown(fn () => $server->after($seconds, fn () => 1)), ' ';
    echo thrown(fn () => $server->every($seconds, fn () => 1)), "\n";
}
foreach ([0.0, 0.0005] as $seconds) {
    echo thrown(fn () => $server->every($seconds, fn () => 1)), "\n";
}
var_dump($server->every(0.001, fn () => 1) > 0, $server->after(1e9, fn () => 1) > 0);
--EXPECT--
ValueError ValueError
ValueError ValueError
ValueError ValueError
ValueError
ValueError
bool(true)
bool(true)
