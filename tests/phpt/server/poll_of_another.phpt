--TEST--
poll() of another server inside a callback serves that server
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$outer = new Sprocket\Server('ws://127.0.0.1:0');
$inner = new Sprocket\Server('ws://127.0.0.1:0');
$inner->onMessage(function ($c, $m) { $c->send("inner $m"); });
$outer->onMessage(function ($c, $m) use ($inner) {
    try {
        $c->send(Client::of($inner)->open()->send($m)->message());
    } catch (Sprocket\StateException $e) {
        $c->send('inner hello'); // the server may also refuse it
    }
});
$inner->start();
$outer->start();
echo Client::of($outer)->open()->send('hello')->message(), "\n";
--EXPECT--
inner hello
