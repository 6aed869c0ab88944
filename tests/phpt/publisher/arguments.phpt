--TEST--
The arguments of a publisher are validated before anything is sent
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

foreach (['', 'unix://', 'unix://a.sock', '/run/a.sock', 'redis://', 'http://127.0.0.1', 'nats://h/1', 'redis://h:70000', 'rediss://h?ca=x', "unix:///a\0b", "\xff", 'unix:///' . str_repeat('x', 107)] as $address) {
    try {
        new Sprocket\Publisher($address);
        echo "$address is accepted\n";
    } catch (Sprocket\InvalidOption $e) {
        echo $e->option, $e->value === $address || $address === "\xff" ? ' ' : ' of another value ';
    }
}
try {
    new Sprocket\Publisher('redis://user:secret@host:x');
} catch (Sprocket\InvalidOption $e) {
    echo "\n", $e->getMessage(), "\n";
}
foreach ([['redis://h', "a\n"], ['redis://h', str_repeat('x', 101)], ['nats://h', ''], ['nats://h', 'a b'], ['nats://h', "\xff"]] as [$address, $prefix]) {
    try {
        new Sprocket\Publisher($address, 1.0, $prefix);
    } catch (Sprocket\InvalidOption $e) {
        echo $e->option, $e->value === $prefix ? ' ' : ' of another value ';
    }
}
echo (new Sprocket\Publisher('redis://h', prefix: 'mine:'))->prefix, ' ', (new Sprocket\Publisher('tls://token@h,h2:1'))->prefix, "\n";
foreach ([0.0, -1.0, 0.0009, 86401.0, NAN, INF] as $timeout) {
    echo thrown(fn () => new Sprocket\Publisher('unix:///a', $timeout), 'Option timeout must be between 0.001 and 86400 seconds') , ' ';
}
echo "\n";
echo thrown(fn () => new Sprocket\Publisher([]), '$address'), ' ', thrown(fn () => new Sprocket\Publisher()), "\n";

$publisher = new Sprocket\Publisher('unix:///nonexistent/a.sock', 0.5);
echo $publisher->address, ' ', $publisher->timeout, "\n";
echo thrown(fn () => $publisher->publish('', 'x'), '($topic) must be 1 to 255 bytes long, 0 given'), "\n";
echo thrown(fn () => $publisher->publish(str_repeat('x', 256), 'x'), '256 given'), "\n";
echo thrown(fn () => $publisher->publish('a.*', 'x'), 'must be a topic, not a pattern'), "\n";
echo thrown(fn () => $publisher->publish('a.>.b', 'x'), 'must be a topic, not a pattern'), "\n";
echo thrown(fn () => $publisher->publish("\xff", 'x'), 'must be valid UTF-8'), "\n";
echo thrown(fn () => $publisher->publish('a', "\xff"), 'UTF-8'), "\n";
echo thrown(fn () => $publisher->publish('a')), "\n";
echo thrown(fn () => $publisher->publish('a', 'x', true, 1)), "\n";
echo thrown(fn () => $publisher->__construct('unix:///b'), 'Cannot modify'), "\n";
echo thrown(fn () => $publisher->timeout = 2.0, 'Cannot modify'), "\n";
echo thrown(fn () => clone $publisher), ' ', thrown(fn () => serialize($publisher)), "\n";
echo thrown(fn () => (new ReflectionClass('Sprocket\Publisher'))->newInstanceWithoutConstructor()->publish('a', 'b')), "\n";
--EXPECT--
address address address address address address address address address address address address 
Option address must be an address in which the host is HOST, HOST:PORT (1 to 65535) or [IPv6]:PORT; for NATS also several, separated by commas; got "redis://…@host:x"
prefix prefix prefix prefix prefix mine: sprocket:
Sprocket\InvalidOption Sprocket\InvalidOption Sprocket\InvalidOption Sprocket\InvalidOption Sprocket\InvalidOption Sprocket\InvalidOption 
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
