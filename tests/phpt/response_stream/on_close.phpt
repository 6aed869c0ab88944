--TEST--
onClose of a stream runs once, and its argument says whether the response was complete
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/stream.inc';

$closed = [];
$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onRequest(function (Sprocket\Request $r) use (&$closed, &$stream): void {
    $stream = $r->stream();
    $fluent = $stream->onClose(function (Sprocket\ResponseStream $s, bool $complete) use ($r, &$closed): void {
        $closed[] = $s->request->path() . ' ' . json_encode([$complete, $s->request === $r, $s->isOpen(), $s->write('late')]);
    });
    var_dump($fluent === $stream);
});
$server->start();

$client = ask($server, '/complete');
head($client);
$stream->end('all');
echo body($client), "\n";
pump($server, function () use (&$closed): bool { return count($closed) === 1; });

$client = ask($server, '/left');
head($client);
$client->drop();
pump($server, function () use (&$closed): bool { return count($closed) === 2; });
$stream->onClose(function (): void { echo "never\n"; });
$stream->onDrain(function (): void { echo "never\n"; });

$client = ask($server, '/terminated');
head($client);
$stream->terminate();
$stream->terminate();
var_dump(chunk($client));
pump($server, function () use (&$closed): bool { return count($closed) === 3; });
halt($server);
echo implode("\n", $closed), "\n";
$stats = $server->stats();
echo "$stats[streamsBegun] begun, $stats[streams] open, $stats[streamsLost] lost, $stats[streamsCut] cut, $stats[streamsSlow] slow\n";
--EXPECT--
bool(true)
all
bool(true)
bool(true)
NULL
/complete [true,true,false,false]
/left [false,true,false,false]
/terminated [false,true,false,false]
3 begun, 0 open, 1 lost, 1 cut, 0 slow
