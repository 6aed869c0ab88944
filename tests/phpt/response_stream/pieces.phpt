--TEST--
A body can be written in pieces, inside the callback and later
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/stream.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onRequest(function (Sprocket\Request $r) use (&$stream): void {
    $stream = $r->stream(201, ['X-Kind' => ['a', 'b']]);
    var_dump($stream->request === $r, $stream->isOpen(), $stream->write('one'), $stream->write(''), $stream->write('two'));
});
$server->start();
$client = ask($server);
$head = head($client);
echo "$head->status ", $head->headers['x-kind'], ' ', $head->headers['transfer-encoding'], ' ', $head->headers['content-type'], "\n";
echo chunk($client), "\n";
var_dump($stream->write('outside of a callback'));
echo chunk($client), "\n";
var_dump($stream->end('the end'), $stream->isOpen(), $stream->end(), $stream->write('more'));
echo chunk($client), "\n";
var_dump(chunk($client));
echo "the connection goes on\n";
$client->raw("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
echo head($client)->status, "\n", chunk($client), "\n";
$stream->end();
var_dump(chunk($client), $stream->bufferedAmount());
--EXPECT--
bool(true)
bool(true)
bool(true)
bool(true)
bool(true)
201 a, b chunked text/plain; charset=utf-8
onetwo
bool(true)
outside of a callback
bool(true)
bool(false)
bool(false)
bool(false)
the end
string(0) ""
the connection goes on
bool(true)
bool(true)
bool(true)
bool(true)
bool(true)
201
onetwo
string(0) ""
int(0)
