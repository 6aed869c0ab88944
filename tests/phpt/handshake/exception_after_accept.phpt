--TEST--
An exception after accept() does not revoke the answer
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onUpgrade(function ($h) { $h->accept(); throw new Exception('too late'); });
$server->onError(function (Throwable $e) { echo $e->getMessage(), "\n"; });
$server->onMessage(fn ($c, $m) => $c->send($m));
$server->start();
echo Client::of($server)->open()->send('hello')->message(), "\n";
--EXPECT--
too late
hello
