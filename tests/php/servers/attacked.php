<?php

declare(strict_types=1);

/**
 * A server with every feature that takes memory for clients: `attacked.php JSON`, with
 * {"options": {…as Sprocket\Options…}, "history": {…as Sprocket\History…}}. It prints its addresses.
 *
 * Clients send commands as binary messages: `fill` publishes 1,000 messages of 1,000 bytes to `kept`,
 * `resume` makes the connection replay them, `fan` subscribes to a topic with 5 MB a second, and
 * `sleep SECONDS` blocks PHP. Any other binary message costs PHP 0.2 ms. Text messages are echoed.
 */

use Sprocket\{Compression, Connection, History, Options, Request, Response, Server, Tls};

$settings = json_decode($argv[1], true, flags: JSON_THROW_ON_ERROR);
$options = $settings['options'];
$options['tls'] = new Tls(...$options['tls']);
$options['compression'] = new Compression(...$options['compression']);
$options['history'] = ['kept' => new History(...$settings['history'])];
$server = new Server(['ws://127.0.0.1:0', 'wss://127.0.0.1:0'], new Options(...$options));

$server->onMessage(function (Connection $connection, string $payload, bool $binary) use ($server): void {
    if (!$binary) {
        $connection->send($payload);
        return;
    }
    switch (strtok(substr($payload, 0, 20), ' ')) {
        case 'fill':
            for ($i = 0; $i < 1000; $i++) {
                $server->publish('kept', str_repeat('k', 1000));
            }
            break;
        case 'resume':
            $connection->unsubscribe('kept');
            $connection->resume('kept', '0');
            break;
        case 'fan':
            $connection->subscribe('fan');
            break;
        case 'sleep':
            usleep((int) (1e6 * (float) substr($payload, 6)));
            break;
        default:
            usleep(200);
    }
});
$server->onOpen(fn () => usleep(50));
$server->onPong(fn () => usleep(100));
$server->onClose(fn () => usleep(50));
$server->onResume(fn () => null);
$server->onRequest(fn (Request $request): Response => new Response(200, match ($request->path()) {
    '/stats' => json_encode($server->stats()),
    default => (string) strlen($request->body()),
}));
$server->every(0.05, fn () => $server->publish('fan', str_repeat('f', 250_000)));
$server->onStart(function (Server $server): void {
    echo implode(' ', $server->addresses()), "\n";
});
$server->run();
