--TEST--
InvalidOption is an InvalidArgumentException and a Sprocket\Exception, and its properties are readonly
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

try {
    new Sprocket\Options(maxMessageSize: 0);
} catch (Sprocket\Exception $e) {
    var_dump($e instanceof InvalidArgumentException, $e::class, $e->option, $e->value);
    echo thrown(function () use ($e) { $e->option = 'x'; }), "\n";
    var_dump($e->getLine() > 0, basename($e->getFile()) !== '');
}
--EXPECT--
bool(true)
string(22) "Sprocket\InvalidOption"
string(14) "maxMessageSize"
int(0)
Error
bool(true)
bool(true)
