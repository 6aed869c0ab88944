<?php
/**
 * The server that the Autobahn suite talks to. Prints its address when it listens. Argument: plain,
 * compression (shared codecs), or takeover (each connection keeps its windows).
 */

declare(strict_types=1);

use Sprocket\{Compression, Connection, Options, Server};

// The largest messages of the suite are 16 MiB, and up to 1000 messages are under way at once.
$server = new Server('ws://127.0.0.1:0', new Options(
    maxMessageSize: 32 << 20,
    sendBufferLimit: 128 << 20,
    maxPendingMessages: 4096,
    maxPendingBytes: 64 << 20,
    origins: ['*'],
    compression: match ($argv[1] ?? 'plain') {
        'plain' => false,
        // Some cases have messages of 16 bytes, and all of them ask for compression.
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
