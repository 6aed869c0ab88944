--TEST--
terminate() cuts: no close frame, and onClose tells 1006
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onOpen(function ($c) { $c->terminate(); var_dump($c->isOpen(), $c->send('x')); $c->terminate(); $c->close(); });
$server->onClose(function ($c, $code) use (&$closed) { $closed = true; var_dump($code); });
$server->start();
$client = Client::of($server)->open();
var_dump($client->closeCode());
pump($server, function () use (&$closed) { return $closed; });
--EXPECT--
bool(false)
bool(false)
int(1006)
string(4) "1006"
