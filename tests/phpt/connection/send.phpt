--TEST--
send() sends text and binary messages whole and in order, and returns true
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(sendBufferLimit: 10_000_000));
$server->onOpen(function ($c) {
    var_dump($c->send('text'), $c->send("\0\xff", true), $c->send(''), $c->send('', true));
    foreach ([125, 126, 65535, 65536, 1_000_000] as $length) {
        $c->send(str_repeat('x', $length));
    }
});
$server->start();
$client = Client::of($server)->open();
for ($i = 0; $i < 4; $i++) {
    $frame = $client->read();
    echo $frame->opcode, ' ', bin2hex($frame->payload), "\n";
}
for ($i = 0; $i < 5; $i++) {
    echo strlen($client->message()), "\n";
}
--EXPECT--
bool(true)
bool(true)
bool(true)
bool(true)
1 74657874
2 00ff
1 
2 
125
126
65535
65536
1000000
