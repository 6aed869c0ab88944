--TEST--
stream() always returns the same stream, which is readable exactly while there is work to do
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onMessage(function ($c, string $m) { echo "$m\n"; });
$server->start();
$readable = function (float $seconds) use ($server): bool {
    $read = [$server->stream()];
    $none = [];
    return (bool) stream_select($read, $none, $none, 0, (int) ($seconds * 1e6));
};
var_dump(is_resource($server->stream()), $server->stream() === $server->stream());
$client = Client::of($server)->open();
pump($server, fn () => count($server) === 1);
var_dump($readable(0));
$client->send('hello');
var_dump($readable(5));
var_dump($server->poll(), $readable(0));

$server->after(0.1, function () { echo "timer\n"; });
var_dump($readable(5), $server->poll(), $readable(0));
--EXPECT--
bool(true)
bool(true)
bool(false)
bool(true)
hello
int(1)
bool(false)
timer
bool(true)
int(1)
bool(false)
