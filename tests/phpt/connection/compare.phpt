--TEST--
Connections compare by identity, without a comparison of their properties
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onOpen(function ($c) { $c->data = $c; }); // a recursive comparison would never end
$server->start();
$clients = [Client::of($server)->open(), Client::of($server)->open()];
pump($server, fn () => count($server) === 2);
[$a, $b] = array_values($server->connections());
var_dump($a == $a, $a == $b, $a != $b, in_array($b, [$a]), in_array($b, [$a, $b]), array_search($b, [$a, $b]));
$a->data = $b->data = null;
var_dump($a == $b);
--EXPECT--
bool(true)
bool(false)
bool(true)
bool(false)
bool(true)
int(1)
bool(false)
