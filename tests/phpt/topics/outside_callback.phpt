--TEST--
A message published outside a callback leaves at once
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onOpen(fn ($c) => $c->subscribe('a'));
$server->start();
$client = new Client($server->addresses()[0]);
$client->open();
pump($server, fn () => count($server) === 1);
$server->publish('a', 'published');
echo $client->message(), "\n";
$server->broadcast('broadcast');
echo $client->message(), "\n";
--EXPECT--
published
broadcast
