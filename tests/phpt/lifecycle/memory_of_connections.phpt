--TEST--
Many connections and messages on one server leak no memory
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onOpen(fn ($c) => $c->data = str_repeat('x', 1000));
$server->onMessage(fn ($c, $m, $b) => $c->send($m, $b));
$server->start();
$round = function () use ($server): void {
    $client = Client::of($server)->open();
    $client->send(str_repeat('y', 5000))->message();
    $client->close();
    pump($server, fn () => count($server) === 0);
};
for ($i = 0; $i < 20; $i++) {
    $round();
}
gc_collect_cycles();
$before = memory_get_usage();
for ($i = 0; $i < 100; $i++) {
    $round();
}
gc_collect_cycles();
$grown = memory_get_usage() - $before;
echo abs($grown) < 1000 ? "nothing left\n" : "$grown bytes\n";
--EXPECT--
nothing left
