--TEST--
publish() and broadcast() skip the connection given as except
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onOpen(fn ($c) => $c->subscribe('room'));
$server->onMessage(function ($c, $m) use ($server) {
    $server->publish('room', "published $m", except: $c);
    $server->broadcast("broadcast $m", false, $c);
    $c->send('done');
});
$server->start();
$ada = Client::of($server)->open();
$bob = Client::of($server)->open();
pump($server, fn () => count($server) === 2);
echo $ada->send('hello')->message(), "\n";
echo $bob->message(), ', ', $bob->message(), "\n";
--EXPECT--
done
published hello, broadcast hello
