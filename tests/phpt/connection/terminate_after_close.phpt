--TEST--
terminate() cuts a connection that is closing
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(closeTimeout: 60));
$server->onOpen(function ($c) use ($server) { $c->close(); $server->after(0.05, fn () => $c->terminate()); });
$server->onClose(function ($c, $code) use (&$closed) { $closed = $code; });
$server->start();
$start = microtime(true);
$client = Client::of($server)->open()->ended();
var_dump(microtime(true) - $start < 9.0);
pump($server, function () use (&$closed) { return $closed; });
var_dump($closed);
--EXPECT--
bool(true)
int(1006)
