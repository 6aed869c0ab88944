--TEST--
An exception in onError becomes a warning, and the server keeps running
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onError(fn () => throw new LogicException('from onError'));
$server->onMessage(fn ($c, $m) => $m === 'throw' ? throw new DomainException('from onMessage') : $c->send($m));
$server->start();
$client = Client::of($server)->open()->send('throw');
pump($server, fn () => $server->stats()['messagesIn'] === 1);
echo Client::of($server)->open()->send('the server lives')->message(), "\n";
--EXPECTF--
%AWarning: %Sfrom onError%A in %s on line %d
%Athe server lives
