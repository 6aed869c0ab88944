--TEST--
No object can be cloned
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onUpgrade(function ($h) use (&$objects) { $objects['Handshake'] = $h; $h->accept(); });
$server->start();
$client = Client::of($server)->open();
pump($server, fn () => count($server) === 1);
$c = current($server->connections());
$objects += ['Server' => $server, 'Options' => new Sprocket\Options, 'Connection' => $c, 'Request' => $c->request, 'Response' => new Sprocket\Response];
foreach ($objects as $name => $object) {
    echo $name, ' ', thrown(fn () => clone $object), "\n";
}
--EXPECT--
Handshake Error
Server Error
Options Error
Connection Error
Request Error
Response Error
