--TEST--
A server released inside a callback closes its connections
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onMessage(function ($c, $m) use (&$server) { $server = null; $c->send($m); });
$server->start();
$client = new Client($server->addresses()[0]);
$client->open()->send('hello');
pump($server, fn () => count($server) === 1);
while ($server) {
    $server->poll(0.01);
}
gc_collect_cycles();
$client->ended();
echo "ended\n";
--EXPECT--
ended
