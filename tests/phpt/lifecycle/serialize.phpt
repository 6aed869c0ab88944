--TEST--
No object can be serialized or unserialized
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
    $class = "Sprocket\\$name";
    $length = strlen($class);
    echo $name, ' ', thrown(fn () => serialize($object)), ' ',
        thrown(fn () => unserialize("O:$length:\"$class\":0:{}") ?: throw new Exception()), ' ',
        thrown(fn () => unserialize("C:$length:\"$class\":0:{}") ?: throw new Exception()), "\n";
}
--EXPECTF--
Handshake Exception Exception %SException
Server Exception Exception %SException
Options Exception Exception %SException
Connection Exception Exception %SException
Request Exception Exception %SException
Response Exception Exception %SException
