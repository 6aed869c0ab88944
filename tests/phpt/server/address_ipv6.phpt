--TEST--
The server listens on an IPv6 address in brackets
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

if (!@stream_socket_server('tcp://[::1]:0')) {
    die("ws://[::1]:N\n::1\n"); // a machine without IPv6
}
$server = new Sprocket\Server('ws://[::1]:0');
$server->onOpen(function ($connection) { echo $connection->remoteAddress, "\n"; });
$server->start();
echo preg_replace('/\d+$/', 'N', $server->addresses()[0]), "\n";
$client = Client::of($server)->open();
pump($server, fn () => count($server) === 1);
--EXPECT--
ws://[::1]:N
::1
