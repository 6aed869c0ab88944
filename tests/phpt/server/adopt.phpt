--TEST--
adopt() serves a connection that the script has accepted
--EXTENSIONS--
sprocket
sockets
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onMessage(fn ($c, $m) => $c->send("$m {$c->remoteAddress}"));
echo thrown(fn () => $server->adopt(STDIN)), "\n";
$server->start();
$pump = fn () => $server->poll(0.01);

$listener = stream_socket_server('tcp://127.0.0.1:0');
$client = new Client('ws://' . stream_socket_get_name($listener, false), $pump);
$accepted = stream_socket_accept($listener, 10);
$server->adopt($accepted);
fclose($accepted);
echo $client->open()->send('a stream')->message(), "\n";

$listener = socket_create_listen(0);
socket_getsockname($listener, $address, $port);
$client = new Client("ws://127.0.0.1:$port", $pump);
$accepted = socket_accept($listener);
$server->adopt(socket: $accepted);
unset($accepted);
echo $client->open()->send('a Socket')->message(), "\n";

[$one, $other] = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);
$server->adopt($one);
fwrite($other, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
stream_set_timeout($other, 10);
echo fgets($other);
echo $server->stats()['accepted'], "\n";

$closed = fopen('php://memory', 'r');
fclose($closed);
$udp = stream_socket_client('udp://127.0.0.1:9');
foreach ([null, 'ws://127.0.0.1:1', $closed, fopen(__FILE__, 'r'), $listener, $udp] as $bad) {
    echo thrown(fn () => $server->adopt($bad), 'must be'), "\n";
}
[$one, $other] = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);
echo thrown(fn () => $server->adopt($one, tls: true), 'certificate'), "\n";
$server->stop();
echo thrown(fn () => $server->adopt($one), 'stopping'), "\n";
--EXPECT--
Sprocket\StateException
a stream 127.0.0.1
a Socket 127.0.0.1
HTTP/1.1 426 Upgrade Required
3
ValueError
ValueError
ValueError
ValueError
ValueError
ValueError
ValueError
ValueError
