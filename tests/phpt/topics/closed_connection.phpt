--TEST--
A closed connection gets no more messages of its topics
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onOpen(function ($c) use ($server) {
    $c->subscribe('a');
    $c->close(4000);
    $server->publish('a', 'x');
    $server->broadcast('x');
});
$server->start();
$client = Client::of($server)->open();
var_dump($client->closeCode());
$client->sendClose(4000)->ended();
var_dump($client->buffer);
--EXPECT--
string(4) "4000"
string(0) ""
