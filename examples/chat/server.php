<?php
/**
 * A chat: the page and its WebSocket on one port.
 *
 *     php -d extension=sprocket examples/chat/server.php [host:port]
 *
 * Then open the printed URL in two windows. Ctrl-C stops the server; the pages come back by
 * themselves when it runs again.
 */

declare(strict_types=1);

use Sprocket\{BindException, Connection, Options, Request, Response, Server};

extension_loaded('sprocket') || exit("The sprocket extension is not loaded (php -d extension=sprocket …).\n");
require __DIR__ . '/Room.php';

const FILES = [
    '/' => ['index.html', 'text/html; charset=utf-8'],
    '/chat.css' => ['chat.css', 'text/css; charset=utf-8'],
    '/chat.js' => ['chat.js', 'text/javascript; charset=utf-8'],
    '/icon.svg' => ['icon.svg', 'image/svg+xml'],
];

const SECURITY_HEADERS = [
    'Content-Security-Policy' => "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
        . " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    'X-Content-Type-Options' => 'nosniff',
    'Referrer-Policy' => 'no-referrer',
];

$address = $argv[1] ?? '127.0.0.1:8080';
$server = new Server("ws://$address", new Options(maxMessageSize: 16 << 10, maxConnectionsPerIp: 200));
$room = new Room();

$server->onRequest(function (Request $request): Response {
    [$file, $type] = FILES[$request->path()] ?? [null, null];
    if ($file === null) {
        return new Response(404, "There is nothing at this address.\n", SECURITY_HEADERS);
    }
    if (!in_array($request->method(), ['GET', 'HEAD'], true)) {
        return new Response(405, "Only GET and HEAD.\n", ['Allow' => 'GET, HEAD'] + SECURITY_HEADERS);
    }
    return new Response(
        200,
        file_get_contents(__DIR__ . "/public/$file"),
        ['Content-Type' => $type, 'Cache-Control' => 'no-cache'] + SECURITY_HEADERS,
    );
});

$server->onMessage(function (Connection $connection, string $payload, bool $binary) use ($room): void {
    $message = $binary ? null : json_decode($payload, true, 4);
    match (is_array($message) ? $message['type'] ?? null : null) {
        'join' => $room->join($connection, $message['name'] ?? null, (bool) ($message['again'] ?? false)),
        'say' => $room->say($connection, $message['text'] ?? null),
        default => $connection->close(1008, 'That was not a message of this chat'),
    };
});

$server->onClose(function (Connection $connection) use ($room): void {
    $room->leave($connection);
});

$server->onError(function (Throwable $error): void {
    fwrite(STDERR, "$error\n");
});

try {
    $server->start();
} catch (BindException $e) {
    fwrite(STDERR, "{$e->getMessage()}\n");
    exit(1);
}
$url = preg_replace('/^ws/', 'http', $server->addresses()[0]);
echo "The chat is open: $url\nCtrl-C stops it.\n";
$server->run();
echo "Stopped.\n";
