--TEST--
All properties except data refuse to be written, unset, or referenced
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->start();
$client = Client::of($server)->open();
pump($server, fn () => count($server) === 1);
$c = current($server->connections());
foreach (['id', 'request', 'remoteAddress', 'remotePort', 'subprotocol'] as $name) {
    $before = $c->$name;
    echo $name, ' ', thrown(function () use ($c, $name) { $c->$name = 1; }), ' ',
        thrown(function () use ($c, $name) { unset($c->$name); }), ' ',
        thrown(function () use ($c, $name) { $r = &$c->$name; $r = 1; }), ' ',
        $c->$name === $before ? 'unchanged' : 'changed', "\n";
}
echo thrown(function () use ($c) { $c->nonsense = 1; }), "\n";
--EXPECT--
id Error Error Error unchanged
request Error Error nothing unchanged
remoteAddress Error Error Error unchanged
remotePort Error Error Error unchanged
subprotocol Error Error Error unchanged
Error
