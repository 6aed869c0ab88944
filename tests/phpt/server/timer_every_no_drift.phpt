--TEST--
The period of every() does not drift
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->start();
$turns = 0;
$over = false;
$server->every(0.1, function () use (&$turns) {
    usleep(60_000);
    $turns++;
});
$server->after(2.05, function () use (&$over) { $over = true; });
pump($server, function () use (&$over) { return $over; });
// 20 turns, of which a busy machine may miss some; a period that starts at the end of the
// callback leaves room for 12.
echo $turns >= 15 && $turns <= 21 ? "no drift\n" : "$turns turns\n";
--EXPECT--
no drift
