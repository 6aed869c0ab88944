<?php
/**
 * A server inside the ReactPHP event loop.
 *
 *     composer require react/event-loop
 *     php -d extension=sprocket examples/event-loop/react.php [host:port]
 *
 * A timer of the loop and the WebSocket server take turns.
 */

declare(strict_types=1);

use React\EventLoop\Loop;
use Sprocket\{Connection, Server};

require getenv('COMPOSER_AUTOLOAD') ?: __DIR__ . '/../../vendor/autoload.php';

$server = new Server('ws://' . ($argv[1] ?? '127.0.0.1:8080'));
$server->onMessage(function (Connection $connection, string $payload): void {
    $connection->send("You said: $payload");
});
$server->start();
echo "Listening on {$server->addresses()[0]}, Ctrl-C stops it.\n";

Loop::addReadStream($server->stream(), function () use ($server): void {
    $server->poll();
    if (!$server->isRunning()) {
        Loop::stop();
    }
});

Loop::addPeriodicTimer(1.0, function () use ($server): void {
    foreach ($server->connections() as $connection) {
        $connection->send('It is ' . date('H:i:s'));
    }
});
Loop::addSignal(SIGINT, fn () => $server->stop());

Loop::run();
