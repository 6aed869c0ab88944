--TEST--
Two servers do not share topics
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

foreach ([1, 2] as $i) {
    $servers[$i] = $server = new Sprocket\Server('ws://127.0.0.1:0');
    $server->onOpen(fn ($c) => $c->subscribe('a'));
    $server->start();
    $clients[$i] = Client::of($server)->open();
    pump($server, fn () => count($server) === 1);
}
$servers[1]->publish('a', 'of one');
$servers[2]->publish('a', 'of two');
echo $clients[1]->message(), ', ', $clients[2]->message(), "\n";
// A connection of another server as except skips no connection.
$servers[1]->publish('a', 'to all of one', except: current($servers[2]->connections()));
echo $clients[1]->message(), "\n";
--EXPECT--
of one, of two
to all of one
