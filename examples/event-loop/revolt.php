<?php
/**
 * A server inside the Revolt event loop (Amp, and everything else that runs on it).
 *
 *     composer require revolt/event-loop
 *     php -d extension=sprocket examples/event-loop/revolt.php [host:port]
 *
 * A timer of the loop and the WebSocket server take turns.
 */

declare(strict_types=1);

use Revolt\EventLoop;
use Sprocket\{Connection, Server};

require getenv('COMPOSER_AUTOLOAD') ?: __DIR__ . '/../../vendor/autoload.php';

$server = new Server('ws://' . ($argv[1] ?? '127.0.0.1:8080'));
$server->onMessage(function (Connection $connection, string $payload): void {
    $connection->send("You said: $payload");
});
$server->start();
echo "Listening on {$server->addresses()[0]}, Ctrl-C stops it.\n";

EventLoop::onReadable($server->stream(), function (string $watcher) use ($server): void {
    $server->poll();
    if (!$server->isRunning()) {
        EventLoop::cancel($watcher);
    }
});

$timer = EventLoop::repeat(1.0, function () use ($server): void {
    foreach ($server->connections() as $connection) {
        $connection->send('It is ' . date('H:i:s'));
    }
});
$signal = EventLoop::onSignal(SIGINT, fn () => $server->stop());

// The server alone keeps the loop alive: once it has stopped, run() returns.
EventLoop::unreference($timer);
EventLoop::unreference($signal);
EventLoop::run();
