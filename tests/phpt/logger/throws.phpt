--TEST--
Exceptions that a logger throws go to onError, and the server keeps running
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/logger.inc';

use Sprocket\{Connection, Options, Server};

$server = new Server('ws://127.0.0.1:0', new Options(logger: function (string $level, string $message): void {
    throw new RuntimeException("log: $message");
}));
$errors = [];
$server->onError(function (Throwable $e, ?Connection $connection) use (&$errors): void {
    $errors[] = preg_replace('/ (on|from) .*/s', '', $e->getMessage()) . ($connection === null ? '' : ' with a connection');
    throw new LogicException('onError throws as well');
});
$server->start();
echo json_encode($errors), "\n";
$client = Client::of($server);
$client->raw($client->upgradeRequest(['Origin' => 'https://evil.example']))->response();
pump($server, function () use (&$errors): bool { return count($errors) === 2; });
echo json_encode($errors), "\n";
$server->onError(null);
$server->onMessage(fn (Connection $c, string $payload) => $c->send($payload));
$client = Client::of($server)->raw("nonsense\r\n\r\n");
pump($server, fn () => $server->stats()['callbacks']['log']['calls'] === 3);
echo Client::of($server)->open()->send('still there')->message(), "\n";
var_dump($server->stats()['callbackErrors']);
$server->onError(function () use (&$errors): void { $errors[] = 'stop'; });
halt($server);
echo count($errors), "\n";
--EXPECTF--

Warning: Uncaught LogicException: onError throws as well in %A
["log: Listening"]

Warning: Uncaught LogicException: onError throws as well in %A
["log: Listening","log: Handshake"]

Warning: Uncaught RuntimeException: log: Socket from 127.0.0.1 closed: the request is malformed in %A
still there
int(3)
4
