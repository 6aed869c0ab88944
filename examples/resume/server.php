<?php
/**
 * A chat that misses nothing: who was away, for a moment or through a restart of a worker, gets
 * what was said meanwhile. It also knows who is here.
 *
 *     php -d extension=sprocket examples/resume/server.php [host:port]
 *
 * Open the printed URL in two windows, and take one of them offline for a while in the browser's tools.
 */

declare(strict_types=1);

use Sprocket\{Connection, History, Options, Request, Response, Server};

$server = new Server('ws://' . ($argv[1] ?? '127.0.0.1:8080'), new Options(
    history: ['chat' => new History(messages: 200, seconds: 3600.0, stamp: '%position%')],
));

$server->onRequest(fn (Request $request): Response => $request->path() === '/'
    ? new Response(200, file_get_contents(__DIR__ . '/page.html'), ['Content-Type' => 'text/html; charset=utf-8'])
    : new Response(404, 'Not found'));

$server->onMessage(function (Connection $connection, string $payload) use ($server): void {
    $message = json_decode($payload, true);
    $text = is_array($message) ? $message['text'] ?? $message['name'] ?? null : null;
    if (!is_string($text) || $text === '' || strlen($text) > 500) {
        $connection->close(1008, 'not understood');
    } elseif (isset($message['name'])) {
        // The first message: who this is, and what it has got last, or '' if it is new.
        $connection->data = preg_replace('/^.{40}\K.+/su', '', $text);
        $connection->join('chat', $connection->data);
        $after = $message['after'] ?? '';
        $connection->resume('chat', is_string($after) ? $after : '');
    } elseif ($connection->data !== null) {
        // The position stands first, so that nobody can write a stamp of their own before it.
        $server->publish('chat', json_encode(['position' => '%position%', 'by' => $connection->data, 'text' => $text]));
    }
});

$server->onResume(function (Connection $connection, string $topic, bool $complete, int $messages, string $position) use ($server): void {
    $connection->send(json_encode(['resumed' => $complete, 'messages' => $messages, 'position' => $position]));
    $connection->send(people($server));
});

// It runs on each worker, so each tells its own connections.
$server->onPresence(function () use ($server): void {
    $people = people($server);
    foreach ($server->connections() as $connection) {
        $connection->send($people);
    }
});

function people(Server $server): string
{
    return json_encode(['people' => array_column($server->presence('chat'), 'member')]);
}

$server->start();
echo 'Open http', substr($server->addresses()[0], 2), "/\n";
$server->run();
