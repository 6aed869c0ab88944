--TEST--
A second answer to a handshake is refused
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onUpgrade(function (Sprocket\Handshake $h) {
    $h->request->path() === '/accept' ? $h->accept() : $h->reject();
    echo thrown(fn () => $h->accept()), ' ', thrown(fn () => $h->reject()), "\n";
});
$server->start();
foreach (['/accept', '/reject'] as $path) {
    $client = Client::of($server);
    echo $client->raw($client->upgradeRequest([], $path))->response()->status, "\n";
}
--EXPECT--
Sprocket\StateException Sprocket\StateException
101
Sprocket\StateException Sprocket\StateException
403
