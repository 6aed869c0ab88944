--TEST--
A request body of up to maxBodySize arrives whole, also when it is chunked
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(maxBodySize: 1000));
$server->onRequest(fn ($r) => new Sprocket\Response(200, strlen($r->body()) . ' ' . substr($r->body(), -3)));
$server->start();
$post = fn (string $rest) => Client::of($server)->raw("POST / HTTP/1.1\r\nHost: localhost\r\n$rest")->response();
echo $post("Content-Length: 5\r\n\r\n\0\xffend")->body, "\n";
echo $post("Content-Length: 1000\r\n\r\n" . str_repeat('x', 1000))->body, "\n";
echo $post("Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n")->body, "\n";
echo $post("Content-Length: 1001\r\n\r\n" . str_repeat('x', 1001))->status, "\n";
echo $post("Transfer-Encoding: chunked\r\n\r\n3e9\r\n" . str_repeat('x', 1001) . "\r\n0\r\n\r\n")->status, "\n";
--EXPECT--
5 end
1000 xxx
5 cde
413
413
