<?php
/**
 * The echo server for the Autobahn suite. Prints its address. Argument: plain, compression (shared
 * codecs), or takeover (each connection keeps its compression windows).
 */

declare(strict_types=1);

use Sprocket\{Compression, Connection, Options, Server};

// The suite's largest messages have 16 MiB, and up to 1000 messages are in flight.
$server = new Server('ws://127.0.0.1:0', new Options(
    maxMessageSize: 32 << 20,
    sendBufferLimit: 128 << 20,
    maxPendingMessages: 4096,
    maxPendingBytes: 64 << 20,
    origins: ['*'],
    compression: match ($argv[1] ?? 'plain') {
        'plain' => false,
        // Some cases use messages of 16 bytes, and all of them expect compression.
        'compression' => new Compression(threshold: 0),
        'takeover' => new Compression(threshold: 0, contextTakeover: true),
    },
));

$server->onMessage(function (Connection $connection, string $payload, bool $binary): void {
    $connection->send($payload, $binary);
});

$server->start();
echo $server->addresses()[0], "\n";
$server->run();
