--TEST--
HEAD gets the same headers as GET, without a body
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onRequest(fn ($r) => new Sprocket\Response(200, 'the body'));
$server->start();
$client = Client::of($server)->raw("HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")->ended();
echo preg_match('/^HTTP\/1.1 200 /', $client->buffer), ' ', stripos($client->buffer, 'content-length: 8') ? 'length 8' : '', ' ',
    str_ends_with($client->buffer, "\r\n\r\n") ? 'no body' : 'body', "\n";
--EXPECT--
1 length 8 no body
