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
$server->every(0.2, function () use (&$turns) {
    usleep(100_000);
    $turns++;
});
$server->after(2.1, function () use (&$over) { $over = true; });
pump($server, function () use (&$over) { return $over; });
// Up to 10 runs fit, and a busy machine may miss some. A period counted from the end of the callback
// would leave room for 7.
echo $turns >= 8 && $turns <= 10 ? "no drift\n" : "$turns turns\n";
--EXPECT--
no drift
