--TEST--
Callbacks get the same object even if the script holds no reference to it
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onOpen(function ($c) { $c->data = ['opened']; });
$server->onMessage(function ($c, $m) { $c->data[] = $m; });
$server->onClose(function ($c) { echo implode(',', $c->data), "\n"; });
$server->start();
$client = Client::of($server)->open()->send('one')->send('two');
pump($server, fn () => $server->stats()['messagesIn'] === 2);
gc_collect_cycles();
$client->close();
pump($server, fn () => count($server) === 0);
--EXPECT--
opened,one,two
