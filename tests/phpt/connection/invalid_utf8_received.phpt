--TEST--
A text message that is not valid UTF-8 is not delivered, and closes the connection with 1007
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onMessage(function () { echo "delivered\n"; });
$server->onClose(function ($c, int $code) use (&$closed) { $closed++; echo "onClose $code\n"; });
$server->start();
$client = Client::of($server)->open()->send("abc\xff");
echo substr($client->closeCode(), 0, 4), "\n";
$client->ended();
$client = Client::of($server)->open()->frame(Client::TEXT, "\xe2\x82", false)->frame(Client::CONTINUATION, 'x');
echo substr($client->closeCode(), 0, 4), "\n";
pump($server, function () use (&$closed) { return $closed === 2; });
--EXPECTREGEX--
(1007|onClose 1007)
(1007|onClose 1007)
(1007|onClose 1007)
(1007|onClose 1007)
