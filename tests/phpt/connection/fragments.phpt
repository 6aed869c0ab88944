--TEST--
A fragmented message arrives as one, also with control frames between its fragments
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onMessage(fn ($c, $m, $binary) => $c->send(($binary ? 'binary ' : 'text ') . $m));
$server->start();
$client = Client::of($server)->open();
$client->frame(Client::TEXT, "gr\xc3", false)->frame(Client::PING, 'between')->frame(Client::CONTINUATION, '', false);
$client->frame(Client::CONTINUATION, "\xb6\xc3", false)->frame(Client::CONTINUATION, "\x9fer");
echo $client->read()->opcode === Client::PONG ? 'pong' : '', "\n";
echo $client->message(), "\n";
$client->frame(Client::BINARY, 'a', false)->frame(Client::CONTINUATION, 'b');
echo $client->message(), "\n";
foreach (str_split(Client::encode(Client::TEXT, 'byte by byte')) as $byte) {
    $client->raw($byte);
}
echo $client->message(), "\n";
--EXPECT--
pong
text größer
binary ab
text byte by byte
