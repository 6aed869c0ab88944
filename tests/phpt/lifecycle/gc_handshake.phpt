--TEST--
A handshake kept in a cycle is collected
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

gc_disable();
$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onUpgrade(function ($h) use (&$reference) {
    $holder = new stdClass;
    $holder->self = $holder;
    $holder->handshake = $h;
    $h->accept(data: $holder);
    $reference = WeakReference::create($holder);
});
$server->start();
$client = Client::of($server)->open();
pump($server, fn () => count($server) === 1);
gc_collect_cycles();
var_dump($reference->get() !== null);
$client->close();
pump($server, fn () => count($server) === 0);
gc_collect_cycles();
var_dump($reference->get());
--EXPECT--
bool(true)
NULL
