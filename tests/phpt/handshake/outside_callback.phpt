--TEST--
A handshake can be answered outside callbacks, and the answer leaves at once
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onUpgrade(function (Sprocket\Handshake $h) use (&$kept) { $kept = $h; });
$server->start();
$client = new Client($server->addresses()[0]);
$client->raw($client->upgradeRequest());
pump($server, function () use (&$kept) { return $kept; });
$kept->accept();
echo $client->response()->status, "\n";
--EXPECT--
101
