--TEST--
After close() no message of the connection is delivered, not even one that is already queued
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onMessage(function ($c, $m) { echo "$m\n"; $c->close(); });
$server->onClose(function ($c, $code) { echo "onClose $code\n"; });
$server->start();
$client = Client::of($server)->open();
$bytes = Client::encode(Client::TEXT, 'one') . Client::encode(Client::TEXT, 'two') . Client::encode(Client::TEXT, 'three');
$client->raw($bytes);
echo $client->closeCode(), "\n";
$client->send('four')->sendClose()->ended();
pump($server, fn () => count($server) === 0);
--EXPECT--
one
1000
onClose 1000
