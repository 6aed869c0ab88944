<?php

declare(strict_types=1);

/**
 * A server whose clients subscribe with "subscribePattern PATTERN…". "sleep S" makes PHP busy. Each
 * command is answered. The argument is JSON: {"options": {…as Sprocket\Options…}}.
 */

use Sprocket\{Connection, Options, Request, Response, Server};

$settings = json_decode($argv[1] ?? '{}', true, flags: JSON_THROW_ON_ERROR);
$server = new Server('ws://127.0.0.1:0', new Options(...$settings['options'] ?? []));

$server->onMessage(function (Connection $connection, string $payload): void {
    $words = explode(' ', $payload);
    match (array_shift($words)) {
        'subscribePattern' => $connection->subscribePattern(...$words),
        'sleep' => usleep((int) ($words[0] * 1e6)),
        'hold' => [print("held\n"), fgets(STDIN)],
    };
    $connection->send("done: $payload");
});

$server->onRequest(fn (Request $request): Response => new Response(200, json_encode($server->stats())));

$server->start();
// The address is printed inside run(), which has installed the SIGTERM handler by then.
$server->after(0.0, function () use ($server): void {
    echo $server->addresses()[0], "\n";
});
$server->run();
