--TEST--
ping() sends a ping, and onPong gets the answer
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onOpen(function ($c) { var_dump($c->ping('question')); $c->ping(); $c->ping("\0\xff" . str_repeat('x', 123)); });
$server->onPong(function ($c, string $payload) { echo "onPong ", strlen($payload), "\n"; });
$server->start();
$client = Client::of($server)->open();
for ($i = 0; $i < 3; $i++) {
    $frame = $client->read();
    echo $frame->opcode === Client::PING ? "ping\n" : "{$frame->opcode}\n";
    $client->frame(Client::PONG, $frame->payload);
}
$server->onMessage(function () use (&$after) { $after = true; });
$client->send('after');
pump($server, function () use (&$after) { return $after; });
--EXPECT--
bool(true)
ping
ping
ping
onPong 8
onPong 0
onPong 125
