<?php

declare(strict_types=1);

/**
 * A server that carries out its clients' commands. The first argument is JSON:
 * {"options": {…as Sprocket\Options…}, "upgrade": true (accepts handshakes in PHP), "listen": …}.
 *
 * It prints its address, and "open ID", "close ID CODE REASON" and "drain ID" as these events occur.
 */

use Sprocket\{Connection, Handshake, Options, Request, Response, Server, SlowConsumer, Tls, TlsException};

$settings = json_decode($argv[1] ?? '{}', true, flags: JSON_THROW_ON_ERROR);
$options = $settings['options'] ?? [];
if (isset($options['slowConsumer'])) {
    $options['slowConsumer'] = SlowConsumer::from($options['slowConsumer']);
}
if (isset($options['tls'])) {
    $options['tls']['hosts'] = array_map(fn (array $tls): Tls => new Tls(...$tls), $options['tls']['hosts'] ?? []);
    $options['tls'] = new Tls(...$options['tls']);
}

$server = new Server($settings['listen'] ?? 'ws://127.0.0.1:0', new Options(...$options));

if ($settings['upgrade'] ?? false) {
    $server->onUpgrade(function (Handshake $handshake): void {
        $handshake->accept();
    });
}

$server->onOpen(function (Connection $connection): void {
    echo "open $connection->id\n";
});

$server->onMessage(function (Connection $connection, string $payload, bool $binary) use ($server): void {
    $words = explode(' ', substr($payload, 0, 200));
    match ($binary ? '' : $words[0]) {
        'sleep' => usleep((int) ($words[1] * 1e6)),
        'hold' => [print("held\n"), fgets(STDIN)],
        'flood' => flood($connection, (int) $words[1], (int) $words[2]),
        'stream' => stream($connection, (int) $words[1], (int) $words[2]),
        'close' => $connection->close((int) $words[1], $words[2] ?? ''),
        'terminate' => $connection->terminate(),
        'buffered' => $connection->send((string) $connection->bufferedAmount()),
        'exit' => exit((int) $words[1]),
        'who' => $connection->send(json_encode(who($connection->request), JSON_THROW_ON_ERROR)),
        'reload' => $connection->send(reload($server)),
        'files' => $connection->send((string) files((int) $words[1])),
        default => $connection->send($payload, $binary),
    };
});

/** The server's view of a client. */
function who(Request $request): array
{
    $certificate = $request->clientCertificate();
    return [
        'method' => $request->method(),
        'version' => $request->protocolVersion(),
        'host' => $request->header('host'),
        'address' => $request->remoteAddress(),
        'port' => $request->remotePort(),
        'local' => $request->localAddress(),
        'scheme' => $request->scheme(),
        'secure' => $request->isSecure(),
        'certificate' => $certificate === null ? null : openssl_x509_parse($certificate)['subject']['CN'],
    ];
}

/** Opens $count files, or as many as possible, and keeps them until the next call. Returns their number. */
function files(int $count): int
{
    static $files;
    $files = [];
    while (count($files) < $count && ($file = @fopen(__FILE__, 'r')) !== false) {
        $files[] = $file;
    }
    return count($files);
}

function reload(Server $server): string
{
    try {
        $server->reloadTls();
        return 'reloaded';
    } catch (TlsException $e) {
        return $e->getMessage();
    }
}

/** Sends numbered messages of $size bytes, then "accepted N"; fewer if the connection closes. */
function flood(Connection $connection, int $count, int $size): void
{
    $accepted = 0;
    for ($i = 0; $i < $count; $i++) {
        $accepted += (int) $connection->send(str_pad("$i ", $size, 'x'));
    }
    echo "flooded $accepted\n";
}

/** Like flood(), but with one message per millisecond, so that the server can send in between. */
function stream(Connection $connection, int $count, int $size): void
{
    global $server;
    $i = $accepted = 0;
    $timer = $server->every(0.001, function () use ($server, $connection, $count, $size, &$timer, &$i, &$accepted): void {
        $accepted += (int) $connection->send(str_pad("$i ", $size, 'x'));
        if (++$i === $count) {
            $server->cancel($timer);
            echo "streamed $accepted\n";
        }
    });
}

$server->onClose(function (Connection $connection, int $code, string $reason): void {
    echo "close $connection->id $code $reason\n";
});

$server->onDrain(function (Connection $connection): void {
    echo "drain $connection->id\n";
});

$server->onRequest(function (Request $request) use ($server): Response {
    if ($request->path() === '/large') {
        return new Response(200, str_repeat('x', (int) ($request->query()['bytes'] ?? 20_000_000)));
    }
    if ($request->path() === '/who') {
        return new Response(200, json_encode(who($request), JSON_THROW_ON_ERROR));
    }
    if ($request->path() === '/connection') {
        $headers = ['Connection' => 'close', 'Keep-Alive' => 'timeout=5', 'Proxy-Connection' => 'close', 'TE' => 'trailers', 'X-Other' => 'stays'];
        return new Response(426, 'upgrade', $headers);
    }
    if ($request->path() !== '/stats') {
        return new Response(200, "hello\n");
    }
    return new Response(200, json_encode($server->stats() + [
        'count' => count($server),
        'descriptors' => count(scandir('/proc/self/fd')),
        'threads' => count(scandir('/proc/self/task')) - 2,
        'memory' => memory_get_usage(),
        'rss' => (int) (preg_match('/VmRSS:\s+(\d+)/', file_get_contents('/proc/self/status'), $m) ? $m[1] : 0),
    ]));
});

$server->start();
// The address is printed inside run(), which has installed the SIGTERM handler by then.
$server->after(0.0, function () use ($server): void {
    echo implode(' ', $server->addresses()), "\n";
});
$server->run();
echo "done\n";
