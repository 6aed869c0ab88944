--TEST--
The headers of a Response are sent as given, and Content-Type has a default
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onRequest(fn () => new Sprocket\Response(201, "\0\xff", ['X-One' => '1', 'set-cookie' => ['a=1', 'b=2'], 'Content-Type' => 'application/octet-stream']));
$server->start();
$r = Client::of($server)->raw("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")->response();
echo "$r->status $r->reason ", bin2hex($r->body), " {$r->headers['x-one']} {$r->headers['set-cookie']} {$r->headers['content-type']} {$r->headers['content-length']}\n";
$server->onRequest(fn () => new Sprocket\Response(204));
$r = Client::of($server)->raw("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")->response();
echo $r->status, ' ', $r->headers['content-type'] ?? 'no type', "\n";
$server->onRequest(fn () => new Sprocket\Response(body: 'text'));
$r = Client::of($server)->raw("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")->response();
echo $r->status, ' ', $r->headers['content-type'], "\n";
--EXPECT--
201 Created 00ff 1 a=1, b=2 application/octet-stream 2
204 no type
200 text/plain; charset=utf-8
