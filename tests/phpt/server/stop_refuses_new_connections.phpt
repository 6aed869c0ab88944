--TEST--
A stopping server accepts no new connections
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->start();
$client = Client::of($server)->open();
pump($server, fn () => count($server) === 1);
[$address] = $server->addresses();
$server->stop(60);
echo substr($client->closeCode(), 0, 4), "\n";
pump($server, function () use ($address, &$error) {
    return !@stream_socket_client(str_replace('ws', 'tcp', $address), $code, $error, 1);
});
echo $error, "\n";
--EXPECT--
1001
Connection refused
