--TEST--
terminate() cuts the connection without a close frame, and onClose gets 1006
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onOpen(function ($c) { $c->terminate(); var_dump($c->isOpen(), $c->send('x')); $c->terminate(); $c->close(); });
$server->onClose(function ($c, $code) use (&$closed) { $closed = $code; });
$server->start();
$client = Client::of($server)->open();
var_dump($client->closeCode());
pump($server, function () use (&$closed) { return $closed; });
var_dump($closed);
--EXPECT--
bool(false)
bool(false)
string(4) "1006"
int(1006)
