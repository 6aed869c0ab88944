--TEST--
A loop over connections() may close them
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$closed = 0;
$server->onClose(function () use (&$closed) { $closed++; });
$server->start();
for ($i = 0; $i < 5; $i++) {
    $clients[] = Client::of($server)->open();
}
pump($server, fn () => count($server) === 5);
foreach ($server->connections() as $connection) {
    $connection->terminate();
    $server->poll(0.01);
}
pump($server, function () use (&$closed) { return $closed === 5; });
var_dump(count($server));
--EXPECT--
int(0)
