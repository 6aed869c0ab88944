<?php

declare(strict_types=1);

/**
 * A server with every feature that can be flooded: `flooded.php CERTIFICATE KEY FOLDER`. Text messages
 * are echoed, a binary `s` subscribes, and a binary `p` publishes.
 */

use Sprocket\{Connection, Options, Request, Response, Server, Tls};

[, $certificate, $key, $folder] = $argv;
$options = new Options(
    tls: new Tls($certificate, $key),
    compression: true,
    healthPath: '/healthz',
    metricsPath: '/metrics',
    staticFiles: $folder,
);
$server = new Server(['ws://127.0.0.1:0', 'wss://127.0.0.1:0'], $options);
$server->onMessage(function (Connection $connection, string $payload, bool $binary) use ($server): void {
    match (true) {
        !$binary => $connection->send($payload),
        $payload === 's' => $connection->subscribe('flood'),
        $payload === 'p' => $server->publish('flood', $payload),
        default => null,
    };
});
$server->onRequest(fn (Request $request): Response => new Response(200, match ($request->path()) {
    '/stats' => json_encode($server->stats()),
    default => "hello\n",
}));
$server->onStart(function (Server $server): void {
    echo implode(' ', $server->addresses()), "\n";
});
$server->run();
