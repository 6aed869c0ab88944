<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(subprotocols: ['b', 'a']));
$server->onUpgrade(fn ($h) => $h->accept());
$server->onOpen(function ($c) { var_dump($c->subprotocol); });
$server->start();
echo Client::of($server)->open(['Sec-WebSocket-Protocol' => 'a, b'])->head->headers['sec-websocket-protocol'], "\n";
pump($server, fn () => count($server) === 1);
$server->onUpgrade(fn ($h) => $h->accept('c'));
echo Client::of($server)->open(['Sec-WebSocket-Protocol' => 'a, c'])->head->headers['sec-websocket-protocol'], "\n";
pump($server, fn () => count($server) === 2);
