--TEST--
A handshake that is not answered in time gets a 503, and later answers return false
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(handshakeTimeout: 0.5));
$server->onUpgrade(function (Sprocket\Handshake $h) use (&$kept) { $kept = $h; });
$server->start();
$client = Client::of($server);
$start = microtime(true);
echo $client->raw($client->upgradeRequest())->response()->status, "\n";
$took = microtime(true) - $start;
var_dump($took > 0.4 && $took < 9.0);
pump($server, function () use (&$kept) { return !$kept->isPending(); });
var_dump($kept->accept(), $server->stats()['handshakeTimeouts']);
--EXPECT--
503
bool(true)
bool(false)
int(1)
