--TEST--
A callback can be replaced or removed while the server runs, even by itself
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onMessage(function ($c, $m) use ($server) {
    echo "first: $m\n";
    $server->onMessage(function ($c, $m) use ($server) {
        echo "second: $m\n";
        $server->onMessage(null);
    });
});
$server->start();
$client = Client::of($server)->open();
$client->send('1')->send('2')->send('3');
$client->close();
pump($server, fn () => $server->stats()['closed'] === 1);
var_dump($server->stats()['messagesIn']);
--EXPECT--
first: 1
second: 2
int(3)
