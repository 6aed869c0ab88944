--TEST--
In onClose the connection is no longer open
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onClose(function ($c) use ($server, &$closed) {
    $closed = true;
    var_dump($c->isOpen(), $c->send('too late'), $c->ping(), $server->connection($c->id), count($server));
    $c->close();
    $c->terminate();
});
$server->start();
$client = Client::of($server)->open();
$client->close();
pump($server, function () use (&$closed) { return $closed; });
--EXPECT--
bool(false)
bool(false)
bool(false)
NULL
int(0)
