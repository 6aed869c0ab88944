--TEST--
Each misuse of a stream throws an exception that names it
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/stream.inc';

use Sprocket\{Request, Response, ResponseStream, Server};

$server = new Server('ws://127.0.0.1:0');
$server->onRequest(function (Request $r): void {
    echo thrown(fn () => $r->stream(199), 'between 200 and 599, 199 given'), "\n";
    echo thrown(fn () => $r->stream(200, ['Content-Length' => '1']), '#2 ($headers)', 'set by the server'), "\n";
    echo thrown(fn () => $r->stream('x')), "\n";
    echo thrown(fn () => $r->stream(200, [], 1)), "\n";
    $stream = $r->stream('202', ['Connection' => 'close']);
    echo thrown(fn () => $r->stream(), 'already been answered'), "\n";
    echo thrown(fn () => $r->respond(new Response()), 'already been answered'), "\n";
    echo thrown(fn () => $stream->write()), ' ', thrown(fn () => $stream->write([])), ' ', thrown(fn () => $stream->end([])), "\n";
    echo thrown(fn () => $stream->onDrain('no function')), ' ', thrown(fn () => $stream->onClose(1)), "\n";
    echo thrown(fn () => clone $stream), ' ', thrown(fn () => serialize($stream)), ' ', thrown(fn () => new ResponseStream()), "\n";
    echo thrown(function () use ($stream) { $stream->request = null; }), ' ', thrown(function () use ($stream) { $stream->more = 1; }), "\n";
    var_dump($stream->write(12.5));
    $stream->end();
});
$server->onOpen(function (Sprocket\Connection $c): void { echo thrown(fn () => $c->request->stream(), 'handshake'), "\n"; });
$server->start();
$client = ask($server);
echo head($client)->status, ' ', body($client), "\n";
$client->ended();
$client = Client::of($server)->open();
pump($server, fn (): bool => count($server) === 1);
--EXPECT--
ValueError
ValueError
TypeError
ArgumentCountError
Sprocket\StateException
Sprocket\StateException
ArgumentCountError TypeError TypeError
TypeError TypeError
Error Exception Error
Error Error
bool(true)
202 12.5
Sprocket\StateException
