--TEST--
pong() sends an unsolicited pong of at most 125 bytes
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onOpen(function ($c) {
    var_dump($c->pong(), $c->pong("\0\xff" . str_repeat('x', 123)));
    echo thrown(fn () => $c->pong(str_repeat('x', 126)), '125'), "\n";
});
$server->onMessage(function ($c) {
    $c->close();
    var_dump($c->pong('late'));
});
$server->start();
$client = Client::of($server)->open();
for ($i = 0; $i < 2; $i++) {
    $frame = $client->read();
    var_dump($frame->opcode === Client::PONG, strlen($frame->payload));
}
$client->send('bye');
var_dump($client->read()->opcode === Client::CLOSE);
--EXPECT--
bool(true)
bool(true)
ValueError
bool(true)
int(0)
bool(true)
int(125)
bool(false)
bool(true)
