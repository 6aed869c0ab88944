--TEST--
A timer can reject a handshake
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onUpgrade(function (Sprocket\Handshake $h) use ($server) {
    $server->after(0.02, fn () => $h->reject(402, 'later'));
});
$server->start();
$client = Client::of($server);
$r = $client->raw($client->upgradeRequest())->response();
echo "$r->status $r->body\n";
--EXPECT--
402 later
