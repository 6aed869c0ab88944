--TEST--
bufferedAmount() returns the number of bytes that the kernel has not taken yet, and onDrain runs when none are left
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(sendBufferLimit: 20_000_000));
$drained = false;
$server->onDrain(function ($c) use (&$drained) { $drained = true; var_dump($c->bufferedAmount()); });
$server->start();
$client = new Client($server->addresses()[0]);
$client->open();
pump($server, fn () => count($server) === 1);
$c = current($server->connections());
var_dump($c->bufferedAmount());
$c->send(str_repeat('x', 15_000_000), true);
$server->poll(0.1);
var_dump($c->bufferedAmount() > 5_000_000, $c->bufferedAmount() < 15_000_020, $drained);
$client->wait(function () use ($server, &$drained) { $server->poll(); return $drained; });
--EXPECT--
int(0)
bool(true)
bool(true)
bool(false)
int(0)
