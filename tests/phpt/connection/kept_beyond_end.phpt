--TEST--
A Connection object kept after the connection has ended returns the same values as before, and its methods do nothing
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onOpen(function ($c) use (&$kept) { $kept = $c; $c->data = 'mine'; });
$server->start();
$client = Client::of($server)->open([], '/target');
pump($server, function () use (&$kept) { return $kept; });
$id = $kept->id;
$client->close();
pump($server, fn () => count($server) === 0);
var_dump($kept->id === $id, $kept->remoteAddress, $kept->data, $kept->request->target());
var_dump($kept->isOpen(), $kept->send('x'), $kept->ping(), $kept->bufferedAmount());
$kept->close();
$kept->terminate();
halt($server);
unset($server);
var_dump($kept->isOpen(), $kept->send('x'), $kept->data);
--EXPECT--
bool(true)
string(9) "127.0.0.1"
string(4) "mine"
string(7) "/target"
bool(false)
bool(false)
bool(false)
int(0)
bool(false)
bool(false)
string(4) "mine"
