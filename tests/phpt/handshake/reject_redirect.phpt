--TEST--
reject() can send a redirect
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onUpgrade(fn ($h) => $h->reject(307, '', ['Location' => 'ws://127.0.0.1:9/']));
$server->start();
$client = Client::of($server);
$r = $client->raw($client->upgradeRequest())->response();
echo $r->status, ' ', $r->headers['location'], "\n";
--EXPECT--
307 ws://127.0.0.1:9/
