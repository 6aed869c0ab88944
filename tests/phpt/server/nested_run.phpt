--TEST--
run() and poll() are refused inside a callback
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$other = new Sprocket\Server('ws://127.0.0.1:0');
$other->start();
$server->onMessage(function ($c, $m) use ($server, $other) {
    echo thrown(fn () => $server->run()), ' ', thrown(fn () => $server->poll()), "\n";
    $c->send('done');
});
$server->start();
echo Client::of($server)->open()->send('go')->message(), "\n";
$server->after(0, fn () => print(thrown(fn () => $server->run()) . "\n"));
$server->poll(1);
--EXPECT--
Sprocket\StateException Sprocket\StateException
done
Sprocket\StateException
