--TEST--
With strictSubprotocols a client that offers only unknown subprotocols is refused
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(subprotocols: ['v2', 'v1'], strictSubprotocols: true));
$server->start();
foreach (['v1, v2', 'v1', 'v3, v1', 'v3'] as $offer) {
    $client = Client::of($server);
    $response = $client->raw($client->upgradeRequest(['Sec-WebSocket-Protocol' => $offer]))->response();
    echo "$offer: $response->status ", $response->headers['sec-websocket-protocol'] ?? '-', "\n";
}
echo Client::of($server)->open()->head->headers['sec-websocket-protocol'] ?? 'none offered: none', "\n";
--EXPECT--
v1, v2: 101 v2
v1: 101 v1
v3, v1: 101 v1
v3: 400 -
none offered: none
