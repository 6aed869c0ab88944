--TEST--
publish() and broadcast() do nothing on a server that is not running
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->publish('a', 'x');
$server->broadcast('x');
var_dump($server->subscriberCount('a'));
$server->start();
$server->onOpen(function ($c) use (&$kept) { $kept = $c; $c->subscribe('a'); });
$client = Client::of($server)->open();
pump($server, function () use (&$kept) { return $kept; });
halt($server);
$server->publish('a', 'x');
$server->broadcast('x', except: $kept);
$kept->subscribe('a');
$kept->unsubscribe('a');
var_dump($kept->topics());
--EXPECT--
int(0)
array(0) {
}
