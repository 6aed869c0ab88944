--TEST--
stop() discards messages queued beyond its grace period, and still runs onClose once for each onOpen
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

use Sprocket\{Connection, Options, Server};

$server = new Server('ws://127.0.0.1:0', new Options(maxPendingMessages: 4000));
$seen = ['open' => 0, 'message' => 0, 'close' => 0];
$server->onOpen(function () use (&$seen): void { $seen['open']++; });
$server->onClose(function () use (&$seen): void { $seen['close']++; });
$server->onMessage(function (Connection $c) use (&$seen, $server): void {
    usleep(10_000);
    if (++$seen['message'] === 2) {
        // The remaining messages would take 40 seconds.
        $server->stop(0.1);
    }
});
$server->start();
$clients = [Client::of($server)->open(), Client::of($server)->open()];
pump($server, fn () => count($server) === 2);
$clients[0]->raw(str_repeat(Client::encode(Client::TEXT, 'hello'), 4000));
$deadline = microtime(true) + 10;
while ($server->stats()['pendingMessages'] < 4000 && microtime(true) < $deadline) {
    usleep(1000);
}
$start = microtime(true);
$server->run();
echo microtime(true) - $start < 10 ? 'in time' : 'too late', "\n";
$stats = $server->stats();
echo $seen['open'] === $seen['close'] ? 'each closed once' : json_encode($seen), "\n";
echo $stats['undelivered'] + $seen['message'] === 4000 ? 'all accounted for' : json_encode([$stats['undelivered'], $seen]), "\n";
--EXPECT--
in time
each closed once
all accounted for
