--TEST--
The period of every() does not drift
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->start();
$late = [];
$start = microtime(true);
$server->every(0.1, function () use (&$late, $start) {
    $late[] = fmod(microtime(true) - $start, 0.1);
    usleep(35_000);
});
pump($server, function () use (&$late) { return count($late) >= 12; });
// Most turns come soon after a multiple of the period, however busy the machine. With a period
// that starts at the end of the callback they come 0, 35, 70, 5, 40, … ms after one.
$punctual = count(array_filter($late, fn (float $by): bool => $by < 0.025));
echo $punctual >= 0.6 * count($late) ? "no drift\n" : json_encode($late) . "\n";
--EXPECT--
no drift
