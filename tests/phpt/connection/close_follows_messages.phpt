--TEST--
The close frame follows every message sent before it
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(sendBufferLimit: 20_000_000));
$server->onOpen(function ($c) {
    for ($i = 0; $i < 10; $i++) {
        $c->send(str_repeat("$i", 1_000_000));
    }
    $c->close(4000, 'the end');
});
$server->start();
$client = Client::of($server)->open();
for ($i = 0; $i < 10; $i++) {
    echo $client->message() === str_repeat("$i", 1_000_000) ? $i : 'x';
}
echo ' ', $client->closeCode(), "\n";
--EXPECT--
0123456789 4000 the end
