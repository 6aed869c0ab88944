--TEST--
onOpen and onClose each run exactly once, no matter which side ends the connection or how often
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(closeTimeout: 0.1));
$log = [];
$server->onOpen(function ($c) use (&$log) { $log[$c->id] = 'open'; });
$server->onMessage(function ($c, $m) {
    match ($m) {
        'close' => $c->close(),
        'terminate' => $c->terminate(),
        'both' => [$c->close(), $c->terminate(), $c->terminate()],
        'throw' => throw new Exception(),
        'send' => [$c->send('x'), $c->close(), $c->send('y')],
        'stay' => null,
    };
});
$server->onClose(function ($c, $code) use (&$log) { $log[$c->id] .= ", close"; });
$server->onError(fn ($e, $c) => $c->close(1011));
$server->start();
foreach (['close', 'terminate', 'both', 'throw', 'send', 'stay'] as $how) {
    foreach (['answers', 'drops', 'stays'] as $client) {
        $c = Client::of($server)->open()->send($how);
        match ($client) {
            'answers' => @$c->frame(Client::CLOSE, ''),
            'drops' => $c->drop(),
            'stays' => $clients[] = $c,
        };
        $all[] = $c;
    }
}
pump($server, function () use (&$log) { return count($log) === 18; });
foreach ($clients as $c) {
    $c->drop();
}
pump($server, fn () => count($server) === 0);
pump($server, fn () => $server->poll(0.05) === 0);
echo implode(' / ', array_unique($log)), ' ', count($log), "\n";
--EXPECT--
open, close 18
