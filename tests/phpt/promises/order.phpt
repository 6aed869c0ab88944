--TEST--
Messages of a connection arrive in the order sent, after onOpen and before onClose
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$log = [];
$server->onOpen(function ($c) use (&$log) { $log[$c->data = $c->id][] = 'open'; });
$server->onMessage(function ($c, $m) use (&$log) { $log[$c->data][] = (int) $m; });
$server->onClose(function ($c) use (&$log, &$closed) { $log[$c->data][] = 'close'; $closed++; });
$server->start();
$clients = [Client::of($server)->open(), Client::of($server)->open(), Client::of($server)->open()];
for ($i = 1; $i <= 600; $i++) {
    foreach ($clients as $client) {
        $client->send("$i");
    }
}
foreach ($clients as $client) {
    $client->close();
}
pump($server, function () use (&$closed) { return $closed === 3; });
foreach ($log as $events) {
    var_dump($events === ['open', ...range(1, 600), 'close']);
}
var_dump(count($log));
--EXPECT--
bool(true)
bool(true)
bool(true)
int(3)
