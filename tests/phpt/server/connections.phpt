--TEST--
count(), connections() and connection() return the open connections
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$opened = [];
$server->onOpen(function (Sprocket\Connection $c) use (&$opened) { $opened[$c->id] = $c; });
$server->start();
$clients = [Client::of($server)->open(), Client::of($server)->open(), Client::of($server)->open()];
pump($server, function () use (&$opened) { return count($opened) === 3; });

var_dump(count($server), $server->count(), $server->connections() === $opened);
[$id] = array_keys($opened);
var_dump($server->connection($id) === $opened[$id], $server->connection(-1), $server->connection(PHP_INT_MAX));

$clients[0]->close();
pump($server, fn () => count($server) === 2);
var_dump(count($server->connections()));
--EXPECT--
int(3)
int(3)
bool(true)
bool(true)
NULL
NULL
int(2)
