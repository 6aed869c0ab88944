--TEST--
An object whose constructor has thrown is harmless
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

class Keep { public static $object; }
try {
    new Sprocket\Server('nonsense');
} catch (Sprocket\InvalidOption $e) {
    echo get_class($e), "\n";
}
$r = new ReflectionClass('Sprocket\Server');
$server = $r->newInstance('ws://127.0.0.1:0');
$server->start();
echo count($server->addresses()), "\n";
--EXPECT--
Sprocket\InvalidOption
1
