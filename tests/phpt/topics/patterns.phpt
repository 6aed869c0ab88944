--TEST--
A pattern subscribes to all matching topics, and each message arrives once
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->start();
$client = Client::of($server)->open();
pump($server, fn () => count($server) === 1);
$c = current($server->connections());
foreach ([['room.*'], ['room.>'], ['room.7'], ['*.7'], ['>'], ['room.*', 'room.7', '>']] as $patterns) {
    $c->subscribePattern(...$patterns);
    foreach (['room', 'room.7', 'room.8', 'room.7.typing', 'other.7'] as $topic) {
        $server->publish($topic, $topic);
    }
    $c->send('end');
    echo implode(' ', $patterns), ':';
    while (($message = $client->message()) !== 'end') {
        echo ' ', $message;
    }
    echo "\n";
    $c->unsubscribePattern(...$patterns);
}
--EXPECT--
room.*: room.7 room.8
room.>: room.7 room.8 room.7.typing
room.7: room.7
*.7: room.7 other.7
>: room room.7 room.8 room.7.typing other.7
room.* room.7 >: room room.7 room.8 room.7.typing other.7
