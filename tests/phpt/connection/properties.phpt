--TEST--
A connection has an id, the peer's address, the negotiated subprotocol, and the handshake request
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(subprotocols: ['chat']));
$server->start();
$client = Client::of($server)->open(['Sec-WebSocket-Protocol' => 'other, chat'], '/path?x=1');
pump($server, fn () => count($server) === 1);
$c = current($server->connections());
[$address, $port] = explode(':', stream_socket_get_name($client->stream, false));
var_dump($c->id > 0, $c->remoteAddress === $address, $c->remotePort === (int) $port, $c->subprotocol);
var_dump($c->request->target(), $c->request === $c->request, $client->head->headers['sec-websocket-protocol']);
$other = Client::of($server)->open();
pump($server, fn () => count($server) === 2);
var_dump(array_values($server->connections())[1]->subprotocol);
--EXPECT--
bool(true)
bool(true)
bool(true)
string(4) "chat"
string(9) "/path?x=1"
bool(true)
string(4) "chat"
NULL
