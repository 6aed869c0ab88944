--TEST--
The period of every() does not drift
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->start();
$count = 0;
$start = microtime(true);
$server->every(0.02, function () use (&$count) {
    usleep(10_000);
    $count++;
});
pump($server, function () use (&$count) { return $count === 15; }, 5);
// 15 periods are 0.3 s; a period that starts at the end of the callback makes 0.45 s of them.
echo microtime(true) - $start < 0.42 ? "no drift\n" : sprintf("%.3f s\n", microtime(true) - $start);
--EXPECT--
no drift
