--TEST--
A client that returns gets the messages that it missed, in order, before any newer one
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

use Sprocket\{Connection, History, Options, Server};

$server = new Server('ws://127.0.0.1:0', new Options(history: ['room.>' => new History(stamp: '%position%')]));
$server->onOpen(function (Connection $c) use ($server): void {
    $c->resume('room.1', $c->request->query()['after'] ?? '');
    // Newer than the missed messages, and published before resume() has its answer.
    $server->publish('room.1', 'newer %position%');
});
$resumed = [];
$server->onResume(function (Connection $c, string $topic, bool $complete, int $messages, string $position) use (&$resumed): void {
    $resumed[] = [$topic, $complete, $messages, $position !== '', func_num_args()];
});
$server->start();

/** The texts that the client gets, without their positions, which go to $positions. */
function texts(Client $client, int $count): string
{
    global $positions;
    $positions = $texts = [];
    for ($i = 0; $i < $count; $i++) {
        [$texts[], $positions[]] = explode(' ', $client->message());
    }
    return implode(' ', $texts) . ': ' . count(array_unique($positions)) . " positions\n";
}

$client = Client::of($server)->open();
echo texts($client, 1);
$client->close();
foreach (['one', 'two', 'three'] as $text) {
    $server->publish('room.1', "$text %position%");
}
echo texts(Client::of($server)->open(target: '/?after=' . rawurlencode($positions[0])), 4);
echo texts(Client::of($server)->open(target: '/?after=' . rawurlencode($positions[1])), 3);
pump($server, function () use (&$resumed): bool {
    return count($resumed) === 3;
});
echo implode("\n", array_map('json_encode', $resumed)), "\n";
--EXPECT--
newer: 1 positions
one two three newer: 4 positions
three newer newer: 3 positions
["room.1",true,0,true,5]
["room.1",true,3,true,5]
["room.1",true,2,true,5]
