--TEST--
A stream that the script has released is cut, unless it has a callback
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
    // If the cut precedes the head, the client gets a 500.
    $body = head($client)->status === 500 ? '…' : body($client);
    // The cut may discard data written before it.
    echo "$path ", str_ends_with($body, '…') ? 'cut' : $body, "\n";
}
--EXPECT--
/forgotten cut
/ended all
/drain begun, ended
/removed cut
/timer later
