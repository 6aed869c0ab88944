--TEST--
A pattern has at most 16 tokens; a topic may have more, and patterns match it
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

use Sprocket\Server;

$server = new Server('ws://127.0.0.1:0');
$server->start();
$client = Client::of($server)->open();
pump($server, fn () => count($server) === 1);
$c = current($server->connections());
$tokens = fn (string $token, int $count): string => implode('.', array_fill(0, $count, $token));
foreach ([$tokens('*', 17), $tokens('a', 100) . '.>'] as $pattern) {
    foreach (['subscribePattern', 'unsubscribePattern'] as $method) {
        try {
            $c->$method($pattern);
        } catch (ValueError $e) {
            echo $e->getMessage(), "\n";
        }
    }
}
try {
    $server->publish($tokens('*', 17), 'x');
} catch (ValueError $e) {
    echo $e->getMessage(), "\n";
}
$c->subscribePattern($tokens('*', 15) . '.>', $tokens('a', 128));
$server->publish($tokens('a', 128), 'matched');
echo $client->message(), "\n";
--EXPECT--
Sprocket\Connection::subscribePattern(): Argument #1 must have at most 16 tokens, 17 given
Sprocket\Connection::unsubscribePattern(): Argument #1 must have at most 16 tokens, 17 given
Sprocket\Connection::subscribePattern(): Argument #1 must have at most 16 tokens, 101 given
Sprocket\Connection::unsubscribePattern(): Argument #1 must have at most 16 tokens, 101 given
Sprocket\Server::publish(): Argument #1 ($topic) must be a topic, not a pattern
matched
