--TEST--
A malformed close frame is a protocol error, and onClose gets the matching code
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$closed = 0;
$server->onClose(function ($c, int $code) use (&$closed, &$received) { $closed++; $received = $code; });
$server->start();
$frames = ['x', pack('n', 999), pack('n', 1005), pack('n', 1006), pack('n', 1015), pack('n', 5000), pack('n', 1000) . "\xff"];
foreach ($frames as $i => $payload) {
    $client = Client::of($server)->open()->frame(Client::CLOSE, $payload);
    $sent = substr($client->closeCode(), 0, 4);
    $client->ended();
    pump($server, function () use (&$closed, $i) { return $closed === $i + 1; });
    echo "$sent onClose $received\n";
}
--EXPECTF--
1002 onClose 1002
1002 onClose 1002
1002 onClose 1002
1002 onClose 1002
1002 onClose 1002
1002 onClose 1002
1007 onClose 1007
