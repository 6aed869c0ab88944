--TEST--
poll() refuses arguments that are out of range
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->start();
foreach ([[-0.1, 1], [NAN, 1], [INF, 1], [0.0, 0], [0.0, -1]] as $arguments) {
    echo thrown(fn () => $server->poll(...$arguments)), "\n";
}
var_dump($server->poll(maxEvents: 1), $server->poll(0));
--EXPECT--
ValueError
ValueError
ValueError
ValueError
ValueError
int(0)
int(0)
