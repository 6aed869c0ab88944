--TEST--
A stream that exceeds sendBufferLimit is cut, whatever the option slowConsumer says
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/stream.inc';

use Sprocket\SlowConsumer;

foreach ([SlowConsumer::Close, SlowConsumer::Drop] as $policy) {
    $server = streaming($streams, ['sendBufferLimit' => 100_000, 'slowConsumer' => $policy]);
    $client = ask($server);
    pump($server, function () use (&$streams): bool { return $streams !== []; });
    $streams[0]->onClose(function ($s, bool $complete) use (&$closed): void { $closed = $complete; });
    $most = 0;
    pump($server, function () use (&$streams, &$most): bool {
        $most = max($most, $streams[0]->bufferedAmount());
        return !$streams[0]->write(str_repeat('x', 50_000));
    });
    pump($server, function () use (&$closed): bool { return $closed !== null; });
    var_dump($closed, $most <= 100_000, $streams[0]->isOpen(), $server->stats()['streamsSlow']);
    $closed = null;
    head($client);
    echo substr(body($client), -4), "\n";
}
--EXPECT--
bool(false)
bool(true)
bool(false)
int(1)
x…
bool(false)
bool(true)
bool(false)
int(1)
x…
