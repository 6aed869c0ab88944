--TEST--
Only subscribePattern() accepts a pattern; every other method refuses it and subscribes to nothing
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

use Sprocket\{History, Options, Server};

$server = new Server('ws://127.0.0.1:0', new Options(history: ['room.>' => new History()]));
$server->start();
$client = Client::of($server)->open();
pump($server, fn () => count($server) === 1);
$c = current($server->connections());
$refusals = [];
foreach (['*', '>', 'room.*', 'room.>', '*.1', 'room.*.x', 'room.>.x'] as $pattern) {
    foreach ([
        fn () => $c->subscribe($pattern),
        fn () => $c->unsubscribe($pattern),
        fn () => $c->resume($pattern),
        fn () => $c->join($pattern, 'ann'),
        fn () => $c->leave($pattern),
        fn () => $server->publish($pattern, 'x'),
        fn () => $server->presence($pattern),
    ] as $call) {
        try {
            $call();
            echo "$pattern was taken\n";
        } catch (ValueError $e) {
            $refusals[$e->getMessage()] ??= 0;
            $refusals[$e->getMessage()]++;
        }
    }
}
foreach ($refusals as $message => $times) {
    echo "$times: $message\n";
}
echo json_encode([$c->topics(), $c->patterns()]), "\n";
try {
    $c->subscribePattern('room.>.x');
} catch (ValueError $e) {
    echo $e->getMessage(), "\n";
}
// Only a whole token is a wildcard.
$c->subscribe('room.a*', '>x', 'a.b>');
$server->publish('room.1', 'of another room');
$server->publish('>x', 'own');
echo $client->message(), "\n";
--EXPECT--
7: Sprocket\Connection::subscribe(): Argument #1 must be a topic, not a pattern; subscribePattern() takes patterns
7: Sprocket\Connection::unsubscribe(): Argument #1 must be a topic, not a pattern; unsubscribePattern() takes patterns
7: Sprocket\Connection::resume(): Argument #1 ($topic) must be a topic, not a pattern
7: Sprocket\Connection::join(): Argument #1 ($topic) must be a topic, not a pattern
7: Sprocket\Connection::leave(): Argument #1 ($topic) must be a topic, not a pattern
7: Sprocket\Server::publish(): Argument #1 ($topic) must be a topic, not a pattern
7: Sprocket\Server::presence(): Argument #1 ($topic) must be a topic, not a pattern
[[],[]]
Sprocket\Connection::subscribePattern(): Argument #1 must have the token > only at its end
own
