--TEST--
poll() dispatches at most maxEvents events, and the stream stays readable while more are queued
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$seen = [];
$server->onMessage(function ($c, string $m) use (&$seen) { $seen[] = $m; });
$server->start();
$client = Client::of($server)->open();
pump($server, fn () => count($server) === 1);
for ($i = 1; $i <= 10; $i++) {
    $client->send("$i");
}
$readable = function () use ($server): bool {
    $read = [$server->stream()];
    $none = [];
    return (bool) stream_select($read, $none, $none, 5);
};
$most = 0;
while (count($seen) < 10 && $readable()) {
    $most = max($most, $n = $server->poll(0, 1));
}
echo implode(',', $seen), "\n";
var_dump($most);
--EXPECT--
1,2,3,4,5,6,7,8,9,10
int(1)
