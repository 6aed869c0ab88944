--TEST--
topics() and patterns() list the subscriptions, and subscriberCount() counts the subscribers
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->start();
$clients = [Client::of($server)->open(), Client::of($server)->open()];
pump($server, fn () => count($server) === 2);
[$a, $b] = array_values($server->connections());
$a->subscribe('b', 'a', 'a');
$a->subscribePattern('x.*', '>', 'x.*', 'c');
$b->subscribe('a');
$b->subscribe();
echo implode(' ', $a->topics()), ' | ', implode(' ', $a->patterns()), ' / ', implode(' ', $b->topics()), "\n";
echo $server->subscriberCount('a'), $server->subscriberCount('b'), $server->subscriberCount('x.*'), $server->subscriberCount('x.1'), "\n";
$a->unsubscribe('a', 'c', 'nonsense');
$a->unsubscribePattern('>', 'x.>');
echo implode(' ', $a->topics()), ' | ', implode(' ', $a->patterns()), ' ', $server->subscriberCount('a'), "\n";
$clients[1]->close();
pump($server, fn () => count($server) === 1);
pump($server, fn () => $server->subscriberCount('a') === 0);
var_dump($b->topics());
$b->subscribe('a');
var_dump($b->topics(), $server->subscriberCount('a'));
--EXPECT--
a b c | > x.* / a
2110
b | x.* 1
array(0) {
}
array(0) {
}
int(0)
