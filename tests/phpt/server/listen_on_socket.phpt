--TEST--
The server listens on a given Socket object
--EXTENSIONS--
sprocket
sockets
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$socket = socket_create(AF_INET, SOCK_STREAM, 0);
socket_bind($socket, '127.0.0.1', 0);
socket_listen($socket, 10);
$server = new Sprocket\Server($socket);
$server->onMessage(fn ($c, $m) => $c->send($m));
$server->start();
socket_close($socket);
echo Client::of($server)->open()->send('hello')->message(), "\n";
--EXPECT--
hello
