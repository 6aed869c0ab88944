--TEST--
A request object may be kept after its connection and its server have gone
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onRequest(function ($r) use (&$kept) { $kept = $r; return new Sprocket\Response(); });
$server->start();
Client::of($server)->raw("POST /path HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody")->response();
halt($server);
unset($server);
var_dump($kept->path(), $kept->body(), $kept->header('host'));
--EXPECT--
string(5) "/path"
string(4) "body"
string(9) "localhost"
