--TEST--
onDrain of a stream runs when the socket has taken everything, so a body of any size needs little memory
--EXTENSIONS--
sprocket
--INI--
memory_limit=24M
--FILE--
<?php
require __DIR__ . '/../inc/stream.inc';

const TOTAL = 32 << 20, PIECE = 1 << 16;
$server = new Sprocket\Server('ws://127.0.0.1:0');
[$left, $most, $drains] = [TOTAL, 0, 0];
$server->onRequest(function (Sprocket\Request $r) use (&$left, &$most, &$drains): void {
    $more = function (Sprocket\ResponseStream $s) use (&$left, &$most, &$drains): void {
        $drains++;
        while ($left > 0 && $s->bufferedAmount() < 4 * PIECE) {
            $s->write(str_repeat('x', PIECE));
            $left -= PIECE;
            $most = max($most, $s->bufferedAmount());
        }
        $left > 0 || $s->end();
    };
    $more($r->stream()->onDrain($more));
});
$server->start();
$client = ask($server);
head($client);
for ($received = 0; ($chunk = chunk($client)) !== ''; $received += strlen($chunk));
var_dump($received === TOTAL, $most <= 4 * PIECE, $drains > 10);
--EXPECT--
bool(true)
bool(true)
bool(true)
