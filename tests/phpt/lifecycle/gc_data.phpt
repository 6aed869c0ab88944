--TEST--
A connection in a cycle through its data is collected
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

gc_disable();
class Witness { public $x; public function __destruct() { echo "released\n"; } }
$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onOpen(function ($c) use ($server) { $c->data = new Witness; $c->data->x = [$c, $server]; });
$server->start();
$client = Client::of($server)->open();
pump($server, fn () => count($server) === 1);
gc_collect_cycles();
echo "open\n";
$client->close();
pump($server, fn () => count($server) === 0);
gc_collect_cycles();
echo "closed\n";
--EXPECT--
open
released
closed
