--TEST--
Without onError an exception becomes a warning, and its connection closes with 1011
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onMessage(function ($c, $m) {
    $m === 'throw' ? throw new DomainException('the message') : $c->send($m);
});
$server->start();
$bad = Client::of($server)->open()->send('throw');
echo $bad->closeCode(), "\n";
echo Client::of($server)->open()->send('the server lives')->message(), "\n";
--EXPECTF--
Warning: %Sthe message%A in %s on line %d
1011%S
the server lives
