--TEST--
Methods accept named arguments
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server(listen: 'ws://127.0.0.1:0', options: new Sprocket\Options(maxMessageSize: 5));
$server->onMessage(callback: fn ($c, $m) => $c->send(payload: $m, binary: true));
$server->start();
var_dump($server->poll(timeout: 0.0, maxEvents: 5));
$timer = $server->after(seconds: 5, callback: fn () => 1);
var_dump($server->cancel(timer: $timer));
echo Client::of($server)->open()->send('hello')->message(), "\n";
$server->stop(grace: 0);
--EXPECT--
int(0)
bool(true)
hello
