--TEST--
A stream that nobody can write to any more is cut; one with a callback is kept
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/stream.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onRequest(function (Sprocket\Request $r) use ($server): void {
    switch ($r->path()) {
        case '/forgotten':
            $r->stream()->write('begun');
            break;
        case '/ended':
            $r->stream()->end('all');
            break;
        case '/drain':
            $r->stream()->onDrain(fn (Sprocket\ResponseStream $s) => $s->end(', ended'))->write('begun');
            break;
        case '/removed':
            $stream = $r->stream()->onDrain(fn () => null)->onClose(fn () => null);
            $stream->write('begun');
            $stream->onDrain(null);
            $stream->onClose(null);
            break;
        case '/timer':
            $stream = $r->stream();
            $server->after(0.05, fn () => $stream->end('later'));
            break;
    }
});
$server->start();
foreach (['/forgotten', '/ended', '/drain', '/removed', '/timer'] as $path) {
    $client = ask($server, $path);
    // Cut before its head was sent, it is an error.
    $body = head($client)->status === 500 ? '…' : body($client);
    // What was written before the cut may be lost with it.
    echo "$path ", str_ends_with($body, '…') ? 'cut' : $body, "\n";
}
--EXPECT--
/forgotten cut
/ended all
/drain begun, ended
/removed cut
/timer later
