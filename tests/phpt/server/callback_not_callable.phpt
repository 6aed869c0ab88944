--TEST--
A value that is not callable is refused with a TypeError
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

class A { private function hidden() {} }
$server = new Sprocket\Server('ws://127.0.0.1:0');
foreach (['onUpgrade', 'onOpen', 'onMessage', 'onClose', 'onDrain', 'onPong', 'onRequest', 'onError'] as $setter) {
    foreach (['no_such_function', [], 5, 'A::b', [new A, 'hidden'], new stdClass] as $value) {
        $e = thrown(fn () => $server->$setter($value), $setter);
        echo $e === 'TypeError' ? '' : "$setter: $e\n";
    }
}
echo thrown(fn () => $server->after(0, 'no_such_function')), "\n";
echo thrown(fn () => $server->every(1, 'no_such_function')), "\n";
echo thrown(fn () => $server->onOpen()), "\n";
--EXPECT--
TypeError
TypeError
ArgumentCountError
