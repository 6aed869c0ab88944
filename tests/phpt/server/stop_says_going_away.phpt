--TEST--
stop() closes each connection with 1001, and lets the client answer
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onClose(function ($c, int $code, string $reason) { echo "onClose $code\n"; });
$server->start();
$client = Client::of($server)->open();
pump($server, fn () => count($server) === 1);
$server->stop();
echo substr($client->closeCode(), 0, 4), "\n";
$client->sendClose(1001)->ended();
pump($server, fn () => !$server->isRunning());
$server->stop();
--EXPECT--
1001
onClose 1001
