--TEST--
The time limit of a request ends with the head of the stream, and a stream opened after the limit is closed at once
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/stream.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(handshakeTimeout: 0.3));
$server->onRequest(function (Sprocket\Request $r) use (&$kept): void {
    $kept = $r->path() === '/stream' ? $r->stream() : $r;
});
$server->start();
$client = ask($server, '/stream');
echo head($client)->status, "\n";
$until = microtime(true) + 1.0;
pump($server, fn (): bool => microtime(true) > $until);
var_dump($kept->end('long after'));
echo body($client), "\n";

$client = ask($server, '/late');
echo head($client)->status, "\n";
$stream = $kept->stream();
$stream->onClose(function ($s, bool $complete) use (&$closed): void { $closed = $complete; });
var_dump($stream->isOpen(), $stream->write('x'));
pump($server, function () use (&$closed): bool { return $closed !== null; });
var_dump($closed);
--EXPECT--
200
bool(true)
long after
504
bool(false)
bool(false)
bool(false)
