--TEST--
accept(null) leaves the choice of the subprotocol to the options
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(subprotocols: ['b', 'a']));
$server->onUpgrade(fn ($h) => $h->accept());
$server->onOpen(function ($c) { var_dump($c->subprotocol); });
$server->start();
$one = Client::of($server)->open(['Sec-WebSocket-Protocol' => 'a, b']);
pump($server, fn () => count($server) === 1);
$server->onUpgrade(fn ($h) => $h->accept('c'));
$two = Client::of($server)->open(['Sec-WebSocket-Protocol' => 'a, c']);
pump($server, fn () => count($server) === 2);
echo $one->head->headers['sec-websocket-protocol'], $two->head->headers['sec-websocket-protocol'], "\n";
--EXPECT--
string(1) "b"
string(1) "c"
bc
