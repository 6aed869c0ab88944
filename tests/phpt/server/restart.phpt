--TEST--
A stopped server can be started again
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onMessage(fn ($c, $m) => $c->send($m));
foreach ([1, 2, 3] as $round) {
    $server->start();
    $client = Client::of($server)->open();
    echo $client->send("round $round")->message(), ' ', count($server), ' ', $server->stats()['opened'], "\n";
    halt($server);
    $client->ended();
    var_dump($server->isRunning(), count($server));
}
--EXPECT--
round 1 1 1
bool(false)
int(0)
round 2 1 1
bool(false)
int(0)
round 3 1 1
bool(false)
int(0)
