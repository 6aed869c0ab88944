--TEST--
Only the server can create Connection, Handshake and Request
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

foreach (['Connection', 'Handshake', 'Request'] as $class) {
    $class = "Sprocket\\$class";
    echo thrown(fn () => new $class()), ' ', thrown(fn () => (new ReflectionClass($class))->newInstance()), "\n";
}
--EXPECTF--
Error %r(Error|ReflectionException)%r
Error %r(Error|ReflectionException)%r
Error %r(Error|ReflectionException)%r
