--TEST--
A dead peer is detected within pingInterval plus pingTimeout
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(pingInterval: 0.2, pingTimeout: 1.0));
$server->onClose(function ($c, int $code, string $reason) { echo "onClose $code ", $reason === '' ? 'without' : 'with', " reason\n"; });
$server->start();
$dead = Client::of($server)->open();
$alive = Client::of($server)->open();
pump($server, fn () => count($server) === 2);
$start = microtime(true);
$pings = 0;
$alive->wait(function () use ($alive, $server, &$pings) {
    if (str_starts_with($alive->buffer, "\x89")) {
        $frame = $alive->read();
        $pings++;
        $alive->frame(Client::PONG, $frame->payload);
    }
    return count($server) === 1;
});
$took = microtime(true) - $start;
var_dump($took > 1.1 && $took < 9.0, $pings > 0);
var_dump($server->stats()['pingTimeouts'], $server->stats()['pings'] >= 2);
$dead->ended();
--EXPECT--
onClose 1006 with reason
bool(true)
bool(true)
int(1)
bool(true)
