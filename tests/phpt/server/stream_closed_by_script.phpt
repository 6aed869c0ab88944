--TEST--
The server survives a script that closes the stream against the manual's advice
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onMessage(fn ($c, $m) => $c->send($m));
$server->start();
fclose($server->stream());
echo Client::of($server)->open()->send('hello')->message(), "\n";
var_dump(is_resource($server->stream()));
halt($server);
--EXPECT--
hello
bool(true)
