--TEST--
every() repeats its callback until it is cancelled, also from inside the callback
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->start();
$count = 0;
$timer = $server->every(0.005, function () use ($server, &$timer, &$count) {
    if (++$count === 3) {
        var_dump($server->cancel($timer), $server->cancel($timer));
    }
});
pump($server, function () use (&$count) { return $count >= 3; });
$over = false;
$server->after(0.05, function () use (&$over) { $over = true; });
pump($server, function () use (&$over) { return $over; });
var_dump($count);
--EXPECT--
bool(true)
bool(false)
int(3)
