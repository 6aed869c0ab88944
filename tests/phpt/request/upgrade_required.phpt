--TEST--
Every 426 names the protocol to upgrade to, whether PHP or the server sends it
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->start();
function show(string $what, array $headers = [], bool $plain = false): void
{
    global $server;
    $client = Client::of($server);
    $r = $client->raw($plain ? "GET / HTTP/1.1\r\nHost: a\r\n\r\n" : $client->upgradeRequest($headers))->response();
    echo "$what: $r->status, {$r->headers['upgrade']}, {$r->headers['connection']}, ", $r->headers['sec-websocket-version'] ?? '-', "\n";
}
show('no handshake', plain: true);
show('another version', ['Sec-WebSocket-Version' => '8']);
$server->onUpgrade(fn ($h) => $h->reject(426, 'another subprotocol', ['X-Own' => '1']));
show('rejected');
$server->onRequest(fn () => new Sprocket\Response(426));
show('answered', plain: true);
$server->onRequest(fn () => new Sprocket\Response(426, headers: ['Connection' => 'close']));
show('answered, the last', plain: true);
--EXPECT--
no handshake: 426, websocket, Upgrade, close, 13
another version: 426, websocket, Upgrade, close, 13
rejected: 426, websocket, Upgrade, close, -
answered: 426, websocket, Upgrade, -
answered, the last: 426, websocket, Upgrade, close, -
