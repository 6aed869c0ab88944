--TEST--
Objects created by Reflection without a constructor are harmless
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

foreach (['Server', 'Options', 'Compression', 'Connection', 'Handshake', 'Request', 'Response'] as $class) {
    try {
        $object = (new ReflectionClass("Sprocket\\$class"))->newInstanceWithoutConstructor();
    } catch (ReflectionException $e) {
        continue;
    }
    foreach ((new ReflectionClass($object))->getMethods() as $method) {
        if ($method->isConstructor() || !$method->isPublic() || $method->isStatic()) {
            continue;
        }
        $arguments = array_map(fn ($p) => match ((string) $p->getType()) {
            'string' => 'x', 'int' => 1, 'float' => 0.0, 'bool' => true, 'array' => [], '?callable', 'callable' => fn () => 1, default => null,
        }, array_slice($method->getParameters(), 0, $method->getNumberOfRequiredParameters()));
        if ($method->name === 'run') {
            $arguments = [];
        }
        try {
            $method->invoke($object, ...$arguments);
        } catch (Throwable $e) {
        }
    }
    foreach ((new ReflectionClass($object))->getProperties() as $property) {
        try {
            $property->getValue($object);
        } catch (Throwable $e) {
        }
    }
    @var_dump($object == $object);
}
echo "done\n";
--EXPECTREGEX--
(bool\(true\)
)*done
