--TEST--
An exception in a callback of a stream goes to onError, or without onError cuts the stream
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/stream.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onRequest(function (Sprocket\Request $r) use (&$stream, &$closed): void {
    $stream = $r->stream();
    $stream->onDrain(fn () => throw new Exception('from onDrain'));
    $stream->onClose(function () use (&$closed): void { $closed = true; throw new Exception('from onClose'); });
    $stream->write('begun');
});
$onError = function (Throwable $e, $connection) use (&$errors): void { $errors[] = $e->getMessage() . ' ' . gettype($connection); };
$server->start();

$server->onError($onError);
$client = ask($server);
head($client);
pump($server, function () use (&$errors): bool { return count($errors ?? []) === 1; });
var_dump($stream->end(' and ended'));
echo body($client), "\n";
pump($server, function () use (&$errors): bool { return count($errors) === 2; });
echo implode("\n", $errors), "\n";

$server->onError(null);
$closed = false;
$client = ask($server);
head($client);
$body = body($client);
pump($server, function () use (&$closed): bool { return $closed; });
echo $body, "\n";
--EXPECTF--
bool(true)
begun and ended
from onDrain NULL
from onClose NULL

Warning: Uncaught Exception: from onDrain in %a

Warning: Uncaught Exception: from onClose in %a
begun…
