--TEST--
The server survives a callback that suspends the fiber of poll()
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onMessage(function ($c, $m) {
    $c->send("$m " . Fiber::suspend());
});
$server->start();
$client = Client::of($server)->open()->send('one');
$pump = new Fiber(fn () => pump($server, fn () => $server->stats()['messagesOut'] === 1));
try {
    $pump->start();
    echo thrown(fn () => $server->poll()), "\n";
    $pump->resume('resumed');
    echo $client->message(), "\n";
} catch (FiberError $e) {
    echo "Sprocket\StateException\none resumed\n"; // PHP may also refuse it
}
--EXPECT--
Sprocket\StateException
one resumed
