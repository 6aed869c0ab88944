--TEST--
The classes are final
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/child.inc';

foreach (['Server', 'Options', 'Connection', 'Handshake', 'Request', 'Response', 'InvalidOption', 'InvalidPayload', 'BindException', 'ForkException', 'StateException', 'SlowConsumer'] as $class) {
    $child = Child::code("class Mine extends Sprocket\\$class {}");
    $child->wait();
    if (!preg_match('/Fatal error: .*(final|cannot extend)/i', $child->output)) {
        echo "$class: $child->output\n";
    }
}
echo "done\n";
--EXPECT--
done
