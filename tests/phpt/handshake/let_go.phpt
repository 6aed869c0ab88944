--TEST--
A handshake that the script releases without an answer gets a 500
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onUpgrade(function (Sprocket\Handshake $h) {});
$server->start();
$client = Client::of($server);
$start = microtime(true);
echo $client->raw($client->upgradeRequest())->response()->status, "\n";

$server->onUpgrade(function (Sprocket\Handshake $h) use (&$kept) { $kept = $h; });
$client = Client::of($server);
$client->raw($client->upgradeRequest());
pump($server, function () use (&$kept) { return $kept; });
$kept = null;
echo $client->response()->status, "\n";
var_dump(microtime(true) - $start < 5.0);
--EXPECT--
500
500
bool(true)
