--TEST--
send() refuses text that is not valid UTF-8, and the connection stays open
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onOpen(function ($c) {
    foreach (["\xff", "abc\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", str_repeat('x', 10_000) . "\x80"] as $bad) {
        echo thrown(fn () => $c->send($bad)), "\n";
        $c->send($bad, true);
    }
    $c->send("\0é€😀\u{10ffff}");
});
$server->start();
$client = Client::of($server)->open();
for ($i = 0; $i < 6; $i++) {
    echo $client->read()->opcode;
}
var_dump($client->message() === "\0é€😀\u{10ffff}");
--EXPECT--
Sprocket\InvalidPayload
Sprocket\InvalidPayload
Sprocket\InvalidPayload
Sprocket\InvalidPayload
Sprocket\InvalidPayload
Sprocket\InvalidPayload
222222bool(true)
