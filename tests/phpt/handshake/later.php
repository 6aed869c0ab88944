<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onUpgrade(function (Sprocket\Handshake $h) use ($server) {
    if ($h->request->path() === '/slow') {
        $server->after(0.1, fn () => $h->accept(data: 'slow'));
    } else {
        $h->accept(data: 'quick');
    }
});
$server->onOpen(function ($c) { echo "{$c->data}\n"; });
$server->start();
$slow = Client::of($server);
$slow->raw($slow->upgradeRequest([], '/slow'));
pump($server, fn () => $server->poll(0.02) || true);
Client::of($server)->open([], '/quick');
echo $slow->response()->status, "\n";
pump($server, fn () => count($server) === 2);
