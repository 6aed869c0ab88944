--TEST--
A message over maxMessageSize closes with 1009, in one frame or in fragments, and the largest allowed one passes
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(maxMessageSize: 1000));
$closed = 0;
$server->onMessage(fn ($c, $m) => $c->send((string) strlen($m)));
$server->onClose(function ($c, int $code) use (&$closed, &$received) { $closed++; $received .= "onClose $code\n"; });
$server->start();
$client = Client::of($server)->open();
echo $client->send(str_repeat('x', 1000))->message(), "\n";
$client->raw("\x81\xfe\x03\xe9mask"); // only the header of a frame of 1001 bytes
echo substr($client->closeCode(), 0, 4), "\n";
$client = Client::of($server)->open();
$client->frame(Client::TEXT, str_repeat('x', 600), false)->frame(Client::CONTINUATION, str_repeat('x', 401), false);
echo substr($client->closeCode(), 0, 4), "\n";
pump($server, function () use (&$closed) { return $closed === 2; });
echo $received;
var_dump($server->stats()['tooBig']);
--EXPECT--
1000
1009
1009
onClose 1009
onClose 1009
int(2)
