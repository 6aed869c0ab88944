--TEST--
The grace period must be a finite number of seconds
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->start();
foreach ([-1.0, NAN, INF, -INF] as $grace) {
    echo thrown(fn () => $server->stop($grace)), "\n";
}
var_dump($server->isRunning());
--EXPECT--
ValueError
ValueError
ValueError
ValueError
bool(true)
