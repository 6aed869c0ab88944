--TEST--
A message sent back reaches the client
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onMessage(function (Sprocket\Connection $connection, string $payload, bool $binary): void {
    $connection->send($payload, $binary);
});
$server->start();

$client = Client::of($server)->open();
var_dump($client->send('größer')->message());
$frame = $client->frame(Client::BINARY, "\0\xff")->read();
var_dump($frame->opcode === Client::BINARY, bin2hex($frame->payload));
var_dump($client->close());
--EXPECT--
string(8) "größer"
bool(true)
string(4) "00ff"
string(4) "1000"
