--TEST--
Scalar arguments are converted as in PHP, and refused under strict_types
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->start();
var_dump($server->poll('0.0', '5'));
$server->onMessage(function ($c, $m) { $c->send(12.5); $c->send(new class { function __toString() { return 'object'; } }, 1); });
$client = Client::of($server)->open()->send('hello');
echo $client->message(), ' ', $client->message(), "\n";
echo thrown(fn () => $server->poll('soon'), 'float', 'string'), "\n";
echo thrown(fn () => $server->poll([]), 'float', 'array'), "\n";
echo thrown(function () use ($server) { eval('declare(strict_types=1); $server->poll("0");'); }, 'float', 'string'), "\n";
--EXPECT--
int(0)
12.5 object
TypeError
TypeError
TypeError
