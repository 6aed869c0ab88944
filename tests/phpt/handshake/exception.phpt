--TEST--
If onUpgrade throws, the client gets a 500 that reveals nothing about the exception
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onUpgrade(fn () => throw new Exception('the secret'));
$server->onError(function (Throwable $e, $c) { echo 'onError ', $e->getMessage(), ' ', var_export($c, true), "\n"; });
$server->start();
$client = Client::of($server);
$r = $client->raw($client->upgradeRequest())->response();
echo $r->status, "\n";
var_dump(str_contains($r->body, 'secret'));
--EXPECT--
onError the secret NULL
500
bool(false)
