--TEST--
The stamp is replaced once in each text message of a topic with history, and nowhere else
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

use Sprocket\{History, Options, Server};

$server = new Server('ws://127.0.0.1:0', new Options(history: [
    'quiet' => new History(),
    'stamped.*' => new History(stamp: '@'),
    // The first matching pattern applies.
    '*.late' => new History(stamp: '#'),
]));
$server->onOpen(fn ($c) => $c->subscribePattern('>'));
$server->start();
$client = Client::of($server)->open();
foreach (['quiet', 'stamped.1', 'stamped.late', 'other.late', 'none'] as $topic) {
    $server->publish($topic, "$topic: @ # @");
    echo preg_replace('/[0-9a-z]+-1\b/', 'POSITION', $client->message(), -1, $count), " ($count)\n";
}
$server->publish('stamped.1', 'binary: @', true);
echo $client->message(), "\n";
$server->publish('stamped.1', 'without');
echo $client->message(), "\n";
pump($server, fn () => $server->stats()['historyTopics'] === 4);
echo 'some ', $server->stats()['historyBytes'] > 50 ? 'bytes' : 'nothing', " are kept\n";
$client->close();
--EXPECT--
quiet: @ # @ (0)
stamped.1: POSITION # @ (1)
stamped.late: POSITION # @ (1)
other.late: @ POSITION @ (1)
none: @ # @ (0)
binary: @
without
some bytes are kept
