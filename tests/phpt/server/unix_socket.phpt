--TEST--
A connection over a Unix socket has no address and no port
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$path = sys_get_temp_dir() . '/sprocket-' . getmypid() . '.sock';
$server = new Sprocket\Server("unix://$path");
$server->onOpen(function ($connection) {
    var_dump($connection->remoteAddress, $connection->remotePort);
    var_dump($connection->request->localAddress(), $connection->request->localPort());
});
$server->start();
$client = Client::of($server)->open(['Host' => 'localhost']);
pump($server, fn () => count($server) === 1);
--EXPECT--
string(0) ""
int(0)
string(0) ""
int(0)
