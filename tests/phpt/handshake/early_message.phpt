--TEST--
A message that arrives with the handshake is not lost, even if PHP decides on the handshake
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onOpen(function () { echo "onOpen\n"; });
$server->onMessage(function ($c, $m) { echo "$m\n"; $c->send($m); });
$server->start();
foreach ([null, fn ($h) => $h->accept(), fn ($h) => $server->after(0.02, fn () => $h->accept())] as $onUpgrade) {
    $server->onUpgrade($onUpgrade);
    $client = Client::of($server);
    $client->raw($client->upgradeRequest() . Client::encode(Client::TEXT, 'early'));
    // Both are read before anything is printed, because onMessage may run after the response has arrived.
    $status = $client->response()->status;
    $message = $client->message();
    echo "$status $message\n";
}
--EXPECT--
onOpen
early
101 early
onOpen
early
101 early
onOpen
early
101 early
