--TEST--
A request knows both addresses of its connection
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onRequest(function (Sprocket\Request $r) {
    return new Sprocket\Response(200, "{$r->remoteAddress()}:{$r->remotePort()} {$r->localAddress()}:{$r->localPort()}");
});
$server->start();
$client = Client::of($server);
$body = $client->raw("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")->response()->body;
var_dump($body === stream_socket_get_name($client->stream, false) . ' ' . stream_socket_get_name($client->stream, true));
--EXPECT--
bool(true)
