--TEST--
Every callback gets the same Connection object, and the object keeps its state in between
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$seen = [];
$note = function (string $where) use (&$seen) {
    return function ($connection) use ($where, &$seen) { $seen[$where] = $connection; };
};
foreach (['onMessage', 'onClose', 'onPong'] as $name) {
    $server->$name($note($name));
}
$server->onOpen(function ($c) use (&$seen) { $seen['onOpen'] = $c; $c->ping(); });
$server->start();
$client = Client::of($server)->open()->frame(Client::PONG, '')->send('hello');
pump($server, function () use (&$seen) { return isset($seen['onMessage']); });
$seen['connection()'] = $server->connection($seen['onOpen']->id);
$seen['connections()'] = current($server->connections());
$client->close();
pump($server, function () use (&$seen) { return isset($seen['onClose']); });
ksort($seen);
foreach ($seen as $where => $connection) {
    echo $where, ' ', $connection === $seen['onOpen'] ? 'same' : 'another', "\n";
}
--EXPECT--
connection() same
connections() same
onClose same
onMessage same
onOpen same
onPong same
