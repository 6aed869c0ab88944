--TEST--
The server resolves a host name
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://localhost:0');
$server->onMessage(fn ($c, $m) => $c->send($m));
$server->start();
echo preg_replace('/\d+$/', 'N', str_replace(['127.0.0.1', '[::1]'], 'localhost', $server->addresses()[0])), "\n";
echo Client::of($server)->open()->send('hello')->message(), "\n";
--EXPECT--
ws://localhost:N
hello
