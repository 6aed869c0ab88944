--TEST--
onClose gets the peer's code and reason, or 1005 for a close frame without a code
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onClose(function ($c, int $code, string $reason) use (&$closed) { $closed = "$code '$reason'"; });
$server->start();
$frames = [
    pack('n', 1000), pack('n', 1001) . 'going', pack('n', 4321) . 'größer', '', pack('n', 1000) . str_repeat('x', 123),
];
foreach ($frames as $payload) {
    $closed = null;
    $client = Client::of($server)->open()->frame(Client::CLOSE, $payload);
    $answer = substr($client->closeCode(), 0, 4);
    $client->ended();
    pump($server, function () use (&$closed) { return $closed !== null; });
    echo "$answer answered, $closed\n";
}
--EXPECTF--
1000 answered, 1000 ''
1001 answered, 1001 'going'
4321 answered, 4321 'größer'
%d answered, 1005 ''
1000 answered, 1000 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'
