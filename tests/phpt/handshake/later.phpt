--TEST--
A timer can answer a handshake while the server serves other clients
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onUpgrade(function (Sprocket\Handshake $h) use (&$kept) {
    if ($h->request->path() === '/slow') {
        $kept = $h;
    } else {
        $h->accept(data: 'quick');
    }
});
$server->onOpen(function ($c) { echo "{$c->data}\n"; });
$server->start();
$slow = Client::of($server);
$slow->raw($slow->upgradeRequest([], '/slow'));
pump($server, function () use (&$kept) { return $kept; });
$quick = Client::of($server)->open([], '/quick');
$server->after(0.01, fn () => $kept->accept(data: 'slow'));
pump($server, fn () => count($server) === 2);
echo $slow->response()->status, "\n";
--EXPECT--
quick
slow
101
