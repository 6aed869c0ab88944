--TEST--
An error handler that throws on the server's own warning does not end the server
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

set_error_handler(fn ($level, $message) => throw new ErrorException($message));
$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onMessage(fn ($c, $m) => $m === 'throw' ? throw new DomainException('the message') : $c->send($m));
$server->start();
$client = Client::of($server)->open()->send('throw');
try {
    $code = $client->closeCode();
} catch (ErrorException $e) {
    $code = $client->closeCode(); // poll() may rethrow it; the server goes on
}
echo $code, "\n";
echo Client::of($server)->open()->send('the server lives')->message(), "\n";
--EXPECTF--
%A1011%S
the server lives
