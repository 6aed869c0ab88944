<?php

declare(strict_types=1);

/**
 * A server with workers. The first argument is JSON: {"options": {…as Sprocket\Options…}, "listen": …,
 * "history": number of messages that the topic `feed` keeps, "code": a file to require first, which
 * may define VERSION and extend(Server)}.
 *
 * It prints its address when it listens, "worker N PID starts", "worker N stops", "done" after run(),
 * and "end PID" at the end of each process.
 */

use Sprocket\{Connection, History, Options, Request, Response, Server};

$settings = json_decode($argv[1] ?? '{}', true, flags: JSON_THROW_ON_ERROR);
if (isset($settings['code'])) {
    require $settings['code'];
}
$version = defined('VERSION') ? VERSION : 'none';
mt_srand(1);
if (isset($settings['history'])) {
    $settings['options']['history'] = ['feed' => new History($settings['history'], stamp: '%position%')];
}

$server = new Server($settings['listen'] ?? 'ws://127.0.0.1:0', new Options(...$settings['options'] ?? []));

$server->onStart(function (Server $server): void {
    echo implode(' ', $server->addresses()), "\n";
});
$server->onWorkerStart(function (Server $server, int $worker): void {
    echo "worker $worker " . getmypid() . " starts\n";
});
$server->onWorkerStop(function (Server $server, int $worker): void {
    echo "worker $worker stops\n";
});
register_shutdown_function(function (): void {
    echo 'end ' . getmypid() . "\n";
});

$server->onMessage(function (Connection $connection, string $payload) use ($server, $version): void {
    static $kept = [];
    $words = explode(' ', $payload, 3);
    $answer = match ($words[0]) {
        'who' => json_encode([
            'worker' => $server->worker(),
            'pid' => getmypid(),
            'version' => $version,
            'random' => mt_rand(),
            'addresses' => $server->addresses(),
        ]),
        'keep' => strlen($kept[] = str_repeat('x', (int) $words[1])),
        'sleep' => usleep((int) ($words[1] * 1e6)),
        'exit' => exit((int) $words[1]),
        'stop' => $server->stop((float) ($words[1] ?? 5.0)),
        'subscribe' => $connection->subscribe($words[1]),
        'publish' => $server->publish($words[1], $words[2]),
        'fill' => $server->publish($words[1], str_repeat('x', (int) $words[2])),
        'broadcast' => $server->broadcast($words[1]),
        'stats' => json_encode($server->stats()),
        'run' => '$ ' . shell_exec("$words[1] $words[2]"),
        default => $payload,
    };
    $connection->send((string) ($answer ?? "done: $payload"));
});

$server->onRequest(fn (Request $request): Response => new Response(200, $version));

if (function_exists('extend')) {
    extend($server);
}
$server->run();
echo "done\n";
