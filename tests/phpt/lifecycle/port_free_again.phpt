--TEST--
Releasing the server frees the listening port at once
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->start();
[$address] = $server->addresses();
$client = Client::of($server)->open();
pump($server, fn () => count($server) === 1);
unset($server);
gc_collect_cycles();
$client = null;
gc_collect_cycles();
$again = new Sprocket\Server($address);
$again->start();
var_dump($again->addresses() === [$address]);
--EXPECT--
bool(true)
