--TEST--
Names of topics have 1 to 255 bytes of UTF-8, and anything else is a ValueError
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
foreach (['', str_repeat('x', 256), "\xff"] as $name) {
    echo thrown(fn () => $c->subscribe('fine', $name)), ' ', thrown(fn () => $server->publish($name, 'x')), "\n";
}
echo implode(' ', $c->topics()), "\n";
foreach ([str_repeat('x', 255), 'größe', 'with space', '5'] as $name) {
    $c->subscribe($name);
    $server->publish($name, $name);
    echo $client->message() === $name ? '' : "$name\n";
}
echo thrown(fn () => $c->subscribe([])), ' ', thrown(fn () => $server->publish('a', "\xff")), ' ', thrown(fn () => $server->broadcast("\xff")), "\n";
--EXPECT--
ValueError ValueError
ValueError ValueError
ValueError ValueError
fine
TypeError Sprocket\InvalidPayload Sprocket\InvalidPayload
