--TEST--
A server that is released while a handshake is pending cuts the client
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onUpgrade(function ($h) use (&$kept) { $kept = $h; });
$server->start();
$client = new Client($server->addresses()[0]);
$client->raw($client->upgradeRequest());
pump($server, function () use (&$kept) { return $kept; });
$server = null;
gc_collect_cycles();
$client->ended();
var_dump($kept->isPending(), $kept->accept());
--EXPECT--
bool(false)
bool(false)
