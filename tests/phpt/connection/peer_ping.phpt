--TEST--
A ping from the peer is answered with its payload, without PHP
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->start();
$client = new Client($server->addresses()[0]);
$client->open()->frame(Client::PING, "are you \0\xff there?");
$frame = $client->read();
var_dump($frame->opcode === Client::PONG, $frame->payload === "are you \0\xff there?");
--EXPECT--
bool(true)
bool(true)
