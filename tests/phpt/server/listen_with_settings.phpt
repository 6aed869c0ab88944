--TEST--
A given socket can have settings of its own, and invalid ones are refused
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

use Sprocket\{Options, Server, Tls};

$socket = stream_socket_server('tcp://127.0.0.1:0');
$other = stream_socket_server('tcp://127.0.0.1:0');

$server = new Server([[$socket, 'proxyProtocol'], [$other, '']]);
$server->onOpen(fn ($c) => print($c->remoteAddress . "\n"));
$server->start();
echo count($server->addresses()), "\n";
$client = Client::of($server)->raw("PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n")->open();
pump($server, fn () => count($server) === 1);
$server->stop(0.0);
pump($server, fn () => !$server->isRunning());

$tls = new Options(tls: new Tls('/nonexistent.pem'));
echo thrown(fn () => new Server([[$socket, 'tls']]), 'Option tls must be'), "\n";
new Server([[$socket, 'tls']], $tls);
foreach ([[$socket, 'backlog=5'], [$socket, 'mode=0660'], [$socket, 'tls=2'], [$socket], [$socket, 'tls', 1], ['ws://127.0.0.1:0', 'tls'], ['tls', $socket], [$socket, 5], [[$socket, 'tls'], 'tls']] as $i => $bad) {
    $e = thrown(fn () => new Server([$bad], $tls), 'Option listen must be');
    echo $e === 'Sprocket\InvalidOption' ? '' : "$i: $e\n";
}
--EXPECT--
2
192.0.2.7
Sprocket\InvalidOption
