--TEST--
One connection serves several requests, followed by a handshake
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onRequest(fn ($r) => new Sprocket\Response(200, $r->path()));
$server->onMessage(fn ($c, $m) => $c->send($m));
$server->start();
$client = Client::of($server);
foreach (['/one', '/two'] as $path) {
    echo $client->raw("GET $path HTTP/1.1\r\nHost: localhost\r\n\r\n")->response()->body, "\n";
}
$client->raw("GET /three HTTP/1.1\r\nHost: localhost\r\n\r\nGET /four HTTP/1.1\r\nHost: localhost\r\n\r\n");
echo $client->response()->body, ' ', $client->response()->body, "\n";
echo $client->open()->send('hello')->message(), "\n";
--EXPECT--
/one
/two
/three /four
hello
