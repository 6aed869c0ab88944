--TEST--
accept() chooses the subprotocol, adds headers, and sets the data of the connection
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onUpgrade(function (Sprocket\Handshake $h) {
    var_dump($h->isPending());
    var_dump($h->accept('v2', ['X-One' => '1', 'Set-Cookie' => ['a=1', 'b=2']], ['user' => 'ada']));
    var_dump($h->isPending());
});
$server->onOpen(function ($c) use (&$open) { $open = $c; $c->send("hello {$c->data['user']}"); });
$server->start();
$client = Client::of($server)->open(['Sec-WebSocket-Protocol' => 'v1, v2']);
echo $client->message(), "\n";
$headers = $client->head->headers;
echo $headers['sec-websocket-protocol'], ' ', $headers['x-one'], ' ', $headers['set-cookie'], "\n";
echo $open->subprotocol, ' ', $headers['sec-websocket-accept'] === Client::ACCEPT ? 'right' : 'wrong', "\n";
--EXPECT--
bool(true)
bool(true)
bool(false)
hello ada
v2 1 a=1, b=2
v2 right
