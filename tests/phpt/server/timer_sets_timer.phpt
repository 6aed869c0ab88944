--TEST--
A zero timer set by a timer runs in the next turn, and does not starve messages
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onMessage(fn ($c, $m) => $c->send($m));
$server->start();
$turns = 0;
$again = function () use ($server, &$again, &$turns) { $turns++; $server->after(0, $again); };
$again();
echo Client::of($server)->open()->send('hello')->message(), "\n";
var_dump($turns > 1);
--EXPECT--
hello
bool(true)
