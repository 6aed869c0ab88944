--TEST--
The request property of a handshake is readonly
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onUpgrade(function (Sprocket\Handshake $h) {
    echo thrown(function () use ($h) { $h->request = null; }), ' ', thrown(function () use ($h) { $h->nonsense = 1; }), "\n";
    $h->reject();
});
$server->start();
$client = Client::of($server);
echo $client->raw($client->upgradeRequest())->response()->status, "\n";
--EXPECT--
Error Error
403
