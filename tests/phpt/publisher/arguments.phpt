--TEST--
Arguments of a publisher are checked before anything is sent
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

foreach (['', 'unix://', 'unix://a.sock', '/run/a.sock', 'redis://127.0.0.1', "unix:///a\0b", 'unix:///' . str_repeat('x', 107)] as $address) {
    try {
        new Sprocket\Publisher($address);
        echo "$address is accepted\n";
    } catch (Sprocket\InvalidOption $e) {
        echo $e->option, $e->value === $address ? ' ' : ' of another value ';
    }
}
foreach ([0.0, -1.0, 0.0009, 86401.0, NAN, INF] as $timeout) {
    echo thrown(fn () => new Sprocket\Publisher('unix:///a', $timeout), 'Option timeout must be between 0.001 and 86400 seconds') , ' ';
}
echo "\n";
echo thrown(fn () => new Sprocket\Publisher([]), '$address'), ' ', thrown(fn () => new Sprocket\Publisher()), "\n";

$publisher = new Sprocket\Publisher('unix:///nonexistent/a.sock', 0.5);
echo $publisher->address, ' ', $publisher->timeout, "\n";
echo thrown(fn () => $publisher->publish('', 'x'), '($topic) must have 1 to 255 bytes, 0 given'), "\n";
echo thrown(fn () => $publisher->publish(str_repeat('x', 256), 'x'), '256 given'), "\n";
echo thrown(fn () => $publisher->publish('a.*', 'x'), 'must be a topic, not a pattern'), "\n";
echo thrown(fn () => $publisher->publish('a.>.b', 'x'), 'must not have the token >'), "\n";
echo thrown(fn () => $publisher->publish("\xff", 'x'), 'must be valid UTF-8'), "\n";
echo thrown(fn () => $publisher->publish('a', "\xff"), 'UTF-8'), "\n";
echo thrown(fn () => $publisher->publish('a')), "\n";
echo thrown(fn () => $publisher->publish('a', 'x', true, 1)), "\n";
echo thrown(fn () => $publisher->__construct('unix:///b'), 'Cannot modify'), "\n";
echo thrown(fn () => $publisher->timeout = 2.0, 'Cannot modify'), "\n";
echo thrown(fn () => clone $publisher), ' ', thrown(fn () => serialize($publisher)), "\n";
echo thrown(fn () => (new ReflectionClass('Sprocket\Publisher'))->newInstanceWithoutConstructor()->publish('a', 'b')), "\n";
--EXPECT--
address address address address address address address Sprocket\InvalidOption Sprocket\InvalidOption Sprocket\InvalidOption Sprocket\InvalidOption Sprocket\InvalidOption Sprocket\InvalidOption 
TypeError ArgumentCountError
unix:///nonexistent/a.sock 0.5
ValueError
ValueError
ValueError
ValueError
ValueError
Sprocket\InvalidPayload
ArgumentCountError
ArgumentCountError
Error
Error
Error Exception
ReflectionException
