--TEST--
A member is present from the first connection that joins to the last one that leaves
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

use Sprocket\{Connection, Server};

$server = new Server('ws://127.0.0.1:0');
$events = [];
$server->onPresence(function (string $topic, string $member, bool $joined, string $data) use (&$events): void {
    $events[] = [$topic, $member, $joined, $data];
});
$server->onMessage(function (Connection $c, string $m): void {
    [$call, $arguments] = json_decode($m);
    $c->$call(...$arguments);
    $c->send('done');
});
$server->start();
$open = fn () => Client::of($server)->open();
$call = fn (Client $c, string $call, string ...$arguments) => $c->send(json_encode([$call, $arguments]))->message();
$show = function (int $count) use ($server, &$events): void {
    pump($server, fn (): bool => count($GLOBALS['events']) >= $count);
    echo json_encode($server->presence('room.1')), "\n";
    foreach (array_splice($events, 0) as [$topic, $member, $joined, $data]) {
        echo "  $member ", $joined ? 'joined' : 'left', " $topic: $data\n";
    }
};

[$phone, $laptop, $other] = [$open(), $open(), $open()];
$call($phone, 'join', 'room.1', 'ann', 'phone');
$call($other, 'join', 'room.1', 'bob');
$show(2);
echo "a second connection\n";
$call($laptop, 'join', 'room.1', 'ann', 'laptop');
$show(0);
echo "the first one leaves, twice\n";
$call($phone, 'leave', 'room.1');
$call($phone, 'leave', 'room.1');
$call($phone, 'leave', 'never.joined');
$show(0);
echo "again with other data\n";
$call($laptop, 'join', 'room.1', 'ann', 'desk');
$show(0);
echo "the last one closes\n";
$laptop->close();
$show(1);
echo "one vanishes\n";
$other->drop();
$show(1);
echo "binary data\n";
$server->onMessage(fn (Connection $c) => $c->join('room.1', 'raw', "\x00\xff"));
$phone->send('');
pump($server, fn (): bool => count($GLOBALS['events']) === 1);
echo bin2hex($server->presence('room.1')[0]['data']), ' ', bin2hex($events[0][3]), "\n";
--EXPECT--
[{"member":"ann","data":"phone","connections":1},{"member":"bob","data":"","connections":1}]
  ann joined room.1: phone
  bob joined room.1: 
a second connection
[{"member":"ann","data":"laptop","connections":2},{"member":"bob","data":"","connections":1}]
the first one leaves, twice
[{"member":"ann","data":"laptop","connections":1},{"member":"bob","data":"","connections":1}]
again with other data
[{"member":"ann","data":"desk","connections":1},{"member":"bob","data":"","connections":1}]
the last one closes
[{"member":"bob","data":"","connections":1}]
  ann left room.1: desk
one vanishes
[]
  bob left room.1: 
binary data
00ff 00ff
