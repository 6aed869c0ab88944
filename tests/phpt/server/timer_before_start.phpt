--TEST--
Timers set before the start run once the server runs, and can be cancelled before that
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->after(0, function () use ($server) { echo "ran\n"; $server->stop(); });
$cancelled = $server->after(0, function () { echo "not to be reached\n"; });
var_dump($server->cancel($cancelled));
$server->run();
--EXPECT--
bool(true)
ran
