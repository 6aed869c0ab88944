--TEST--
Starting and stopping servers and connections leaks no memory, descriptors or threads
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

function round_trip(): void
{
    $server = new Sprocket\Server('ws://127.0.0.1:0');
    $server->onUpgrade(fn ($h) => $h->accept(data: [$h, $server]));
    $server->onOpen(function ($c) use ($server) { $c->data[] = $c; $c->send('hello'); });
    $server->onMessage(function ($c, $m) use ($server) { $server->after(0, fn () => $c->send($m)); });
    $server->onClose(function ($c) use ($server) {});
    $server->every(10, fn () => $server);
    $server->start();
    $client = Client::of($server)->open(['Cookie' => 'a=1'], '/path?x=1');
    $client->message();
    $client->send('again')->message();
    current($server->connections())->request->headers();
    $client->close();
    halt($server);
}
$state = function (): array {
    gc_collect_cycles();
    return [memory_get_usage(), count(scandir('/proc/self/fd')), count(scandir('/proc/self/task'))];
};
for ($i = 0; $i < 5; $i++) {
    round_trip();
}
$before = $state();
$before = $state();
for ($i = 0; $i < 20; $i++) {
    round_trip();
}
$after = $state();
echo $after === $before ? "nothing left\n" : json_encode([$before, $after]) . "\n";
--EXPECT--
nothing left
