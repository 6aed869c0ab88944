--TEST--
every() skips the runs that it missed while a callback was busy
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->start();
$count = 0;
$server->every(0.01, function () use (&$count) {
    if (++$count === 1) {
        usleep(200_000);
    }
});
$start = microtime(true);
pump($server, function () use (&$count) { return $count >= 3; });
$elapsed = microtime(true) - $start;
var_dump($count < 6, $elapsed >= 0.21);
--EXPECT--
bool(true)
bool(true)
