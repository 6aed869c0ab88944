--TEST--
Publications and broadcasts reach the connections of all I/O threads
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(ioThreads: 3));
$server->onOpen(fn ($c) => $c->subscribe('a'));
$server->start();
for ($i = 0; $i < 30; $i++) {
    $clients[] = Client::of($server)->open();
}
pump($server, fn () => count($server) === 30);
$server->publish('a', 'published');
$server->broadcast('broadcast');
$got = array_map(fn ($client) => $client->message() . ' ' . $client->message(), $clients);
echo implode(', ', array_unique($got)), ' ', $server->subscriberCount('a'), "\n";
--EXPECT--
published broadcast 30
