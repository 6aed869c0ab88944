--TEST--
A subscriber that never reads is closed with 1013, and the others get everything
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(sendBufferLimit: 200_000, closeTimeout: 0.2));
$codes = [];
$server->onOpen(fn ($c) => $c->subscribe('a'));
$server->onClose(function ($c, $code) use (&$codes) { $codes[] = $code; });
$server->start();
$slow = Client::of($server)->open();
pump($server, fn () => count($server) === 1);
$good = new Client($server->addresses()[0]);
$good->open();
pump($server, fn () => count($server) === 2);
$message = str_repeat('x', 50_000);
for ($i = 0; $i < 400 && !$codes; $i++) {
    $server->publish('a', $message);
    $good->message() === $message || print("wrong\n");
    $server->poll();
}
pump($server, function () use (&$codes) { return $codes; });
echo $codes[0], ' ', count($server), ' ', $server->stats()['slowClosed'], "\n";
--EXPECT--
1013 1 1
