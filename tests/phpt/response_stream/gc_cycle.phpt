--TEST--
Streams in cycles with their callbacks and requests are collected
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/stream.inc';

gc_disable();
$references = [];
$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onRequest(function (Sprocket\Request $r) use (&$references): void {
    $stream = $r->stream();
    $stream->onDrain(fn () => $stream)->onClose(fn () => $r);
    $references[] = WeakReference::create($stream);
    $references[] = WeakReference::create($r);
});
$server->start();
$client = ask($server);
head($client);
gc_collect_cycles();
var_dump($references[0]->get() !== null, $references[1]->get() !== null);
$client->drop();
pump($server, fn (): bool => $references[0]->get() === null);
var_dump($references[0]->get(), $references[1]->get());

echo "with the server\n";
$client = ask($server);
head($client);
$server->onMessage(fn () => $server);
unset($server);
gc_collect_cycles();
var_dump($references[2]->get() !== null);
unset($client);
gc_collect_cycles();
var_dump($references[2]->get(), $references[3]->get());
--EXPECT--
bool(true)
bool(true)
NULL
NULL
with the server
bool(true)
NULL
NULL
