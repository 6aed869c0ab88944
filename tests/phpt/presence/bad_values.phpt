--TEST--
join() requires a valid topic and a valid member name
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

use Sprocket\{Connection, Server};

$server = new Server('ws://127.0.0.1:0');
$long = str_repeat('x', 256);
$bad = [['room.*', 'ann'], ['', 'ann'], [$long, 'ann'], ["\xff", 'ann'], ['room', ''], ['room', $long], ['room', "\xff"],
    ['room', 'ann', str_repeat('x', 65537)], [[], 'ann'], ['room']];
$server->onOpen(function (Connection $c) use ($server, $bad): void {
    foreach ($bad as $arguments) {
        try {
            $c->join(...$arguments);
            echo "joined\n";
        } catch (Error $e) {
            echo $e::class, ': ', $e->getMessage(), "\n";
        }
    }
    foreach ([fn () => $c->leave('room.*'), fn () => $c->leave("\xff"), fn () => $server->presence("\xff")] as $call) {
        echo thrown($call), "\n";
    }
    // The longest allowed values.
    $c->join(str_repeat('t', 255), str_repeat('m', 255), str_repeat('d', 65536));
    echo strlen($server->presence(str_repeat('t', 255))[0]['data']), "\n";
    $c->close();
    // On a closed connection the call does nothing.
    $c->join('room', 'ann');
    echo json_encode($server->presence('room')), "\n";
});
echo json_encode($server->presence('room')), " before the start\n";
$server->start();
Client::of($server)->open()->closeCode();
halt($server);
echo json_encode($server->presence('room')), " after the stop\n";
--EXPECT--
[] before the start
ValueError: Sprocket\Connection::join(): Argument #1 ($topic) must be a topic, not a pattern
ValueError: Sprocket\Connection::join(): Argument #1 ($topic) must be 1 to 255 bytes long, 0 given
ValueError: Sprocket\Connection::join(): Argument #1 ($topic) must be 1 to 255 bytes long, 256 given
ValueError: Sprocket\Connection::join(): Argument #1 ($topic) must be valid UTF-8
ValueError: Sprocket\Connection::join(): Argument #2 ($member) must be 1 to 255 bytes long, 0 given
ValueError: Sprocket\Connection::join(): Argument #2 ($member) must be 1 to 255 bytes long, 256 given
ValueError: Sprocket\Connection::join(): Argument #2 ($member) must be valid UTF-8
ValueError: Sprocket\Connection::join(): Argument #3 ($data) must be at most 65536 bytes long, 65537 given
TypeError: Sprocket\Connection::join(): Argument #1 ($topic) must be of type string, array given
ArgumentCountError: Sprocket\Connection::join() expects at least 2 arguments, 1 given
ValueError
ValueError
ValueError
65536
[]
[] after the stop
