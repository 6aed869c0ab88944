--TEST--
A connection works as a key of SplObjectStorage and WeakMap
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$storage = new SplObjectStorage;
$map = new WeakMap;
$server->onOpen(function ($c) use ($storage, $map) { $storage[$c] = "storage {$c->id}"; $map[$c] = "map {$c->id}"; });
$server->onMessage(function ($c) use ($storage, $map) {
    $c->send($storage[$c] === "storage {$c->id}" && $map[$c] === "map {$c->id}" ? 'found' : 'not found');
});
$server->onClose(fn ($c) => $storage->detach($c));
$server->start();
$a = Client::of($server)->open();
$b = Client::of($server)->open();
echo $a->send('?')->message(), ' ', $b->send('?')->message(), "\n";
var_dump(count($storage), count($map));
$a->close();
$b->close();
pump($server, fn () => count($server) === 0);
var_dump(count($storage), count($map));
--EXPECT--
found found
int(2)
int(2)
int(0)
int(0)
