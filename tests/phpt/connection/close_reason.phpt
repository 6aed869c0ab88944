--TEST--
The close reason is valid UTF-8 of at most 123 bytes
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->start();
$client = Client::of($server)->open();
pump($server, fn () => count($server) === 1);
$c = current($server->connections());
echo thrown(fn () => $c->close(1000, str_repeat('x', 124)), '123'), "\n";
echo thrown(fn () => $c->close(1000, str_repeat('é', 62)), '123'), "\n";
echo thrown(fn () => $c->close(1000, "\xff")), "\n";
var_dump($c->isOpen());
$c->close(1000, str_repeat('é', 61) . 'x');
var_dump(strlen($client->closeCode()));
--EXPECT--
ValueError
ValueError
ValueError
bool(true)
int(128)
