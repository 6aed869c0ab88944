--TEST--
The id of a connection is never used again
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$ids = [];
$server->onOpen(function ($c) use (&$ids) { $ids[] = $c->id; });
foreach ([1, 2] as $round) {
    $server->start();
    foreach ([1, 2, 3] as $i) {
        Client::of($server)->open()->close();
    }
    pump($server, function () use (&$ids, $round) { return count($ids) === 3 * $round; });
    halt($server);
}
var_dump(count(array_unique($ids)));
--EXPECT--
int(6)
