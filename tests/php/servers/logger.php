<?php

declare(strict_types=1);

/**
 * A server that prints its log lines as JSON: [process, level, message, context]. The first argument
 * is JSON with options as in Sprocket\Options, and "code": a file to require first.
 */

use Sprocket\{Connection, Options, Server, Tls};

$options = json_decode($argv[1] ?? '{}', true, flags: JSON_THROW_ON_ERROR);
if (isset($options['code'])) {
    require $options['code'];
    unset($options['code']);
}
if (isset($options['tls'])) {
    $options['tls'] = new Tls(...$options['tls']);
}
$listen = $options['listen'] ?? 'ws://127.0.0.1:0';
unset($options['listen']);

$server = new Server($listen, new Options(...$options, logger: function (string $level, string $message, array $context): void {
    fwrite(STDOUT, json_encode([getmypid(), $level, $message, $context]) . "\n");
}));
$server->onMessage(function (Connection $connection, string $payload) use ($server): void {
    match ($payload) {
        'reloadTls' => $server->reloadTls(),
        default => null,
    };
    $connection->send($server->worker() . ' ' . getmypid());
});
$server->onError(function (Throwable $e): void {
    fwrite(STDOUT, json_encode('error: ' . $e->getMessage()) . "\n");
});
$server->run();
