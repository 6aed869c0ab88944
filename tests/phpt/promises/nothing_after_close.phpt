--TEST--
After onClose no callback runs for the connection, even if events for it are still queued
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(maxPendingMessages: 1000));
$closed = $late = 0;
$server->onMessage(function ($c, $m) use (&$late) { $c->data && $late++; $c->terminate(); });
$server->onPong(function ($c) use (&$late) { $c->data && $late++; });
$server->onDrain(function ($c) use (&$late) { $c->data && $late++; });
$server->onClose(function ($c) use (&$closed) { $c->data = 'closed'; $closed++; });
$server->start();
for ($i = 0; $i < 20; $i++) {
    $client = new Client($server->addresses()[0]);
    $client->open()->raw(str_repeat(Client::encode(Client::TEXT, 'x') . Client::encode(Client::PONG, 'x'), 50));
    $clients[] = $client;
}
pump($server, function () use (&$closed) { return $closed === 20; });
pump($server, fn () => $server->poll(0.05) === 0);
var_dump($late, $closed);
--EXPECT--
int(0)
int(20)
