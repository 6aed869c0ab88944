--TEST--
No callback runs inside another callback
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$depth = 0;
$wrap = fn (callable $f) => function (...$arguments) use (&$depth, $f) {
    if ($depth++ > 0) {
        echo "nested\n";
    }
    $f(...$arguments);
    $depth--;
};
$server->onOpen($wrap(function ($c) { $c->send('open'); $c->ping(); }));
$server->onMessage($wrap(function ($c, $m) use ($server) {
    $c->send($m);
    $server->after(0, fn () => 1);
    foreach ($server->connections() as $other) {
        $other === $c || $other->terminate();
    }
    $c->close();
    gc_collect_cycles();
}));
$server->onClose($wrap(function ($c, $code) { $c->terminate(); echo "$code\n"; }));
$server->onPong($wrap(fn ($c) => $c->close()));
$server->start();
$other = Client::of($server)->open();
$client = Client::of($server)->open()->send('hello');
$client->closeCode();
$client->sendClose()->ended();
pump($server, fn () => count($server) === 0);
var_dump($depth);
--EXPECT--
1006
1000
int(0)
