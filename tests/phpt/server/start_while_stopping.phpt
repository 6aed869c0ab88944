--TEST--
A server that is still stopping refuses start()
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->start();
$client = Client::of($server)->open();
pump($server, fn () => count($server) === 1);
$server->stop(60);
echo thrown(fn () => $server->start()), "\n";
--EXPECT--
Sprocket\StateException
