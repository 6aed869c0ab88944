--TEST--
The server listens on a given PHP stream, which the script may close
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$listener = stream_socket_server('tcp://127.0.0.1:0');
$name = stream_socket_get_name($listener, false);
$server = new Sprocket\Server($listener);
$server->onMessage(fn ($c, $m) => $c->send($m));
$server->start();
fclose($listener);
var_dump($server->addresses() === ["ws://$name"]);
echo Client::of($server)->open()->send('hello')->message(), "\n";
--EXPECT--
bool(true)
hello
