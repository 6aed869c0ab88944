<?php

declare(strict_types=1);

// What happens when the process has no descriptors left.

require __DIR__ . '/lib/bootstrap.php';

/** A server that may have few descriptors. */
function confined(array $options = []): TestServer
{
    $settings = escapeshellarg(json_encode(['options' => (object) $options], JSON_PRESERVE_ZERO_FRACTION));
    return TestServer::command([
        'sh', '-c', 'ulimit -n 200 && exec ' . Child::php() . ' ' . __DIR__ . "/servers/echo.php $settings",
    ]);
}

test('clients beyond the limit of descriptors wait, those that are there are served, and it costs no CPU', function (): void {
    $server = confined();
    $client = $server->open();
    $waiting = [];
    for ($i = 0; $i < 300; $i++) {
        $waiting[] = $server->connect();
    }
    until(fn (): bool => count(scandir("/proc/{$server->child->pid}/fd")) >= 200, 'the descriptors are used up');
    $before = cpu_seconds($server->child->pid);
    usleep(1_000_000);
    $used = cpu_seconds($server->child->pid) - $before;
    check($used < 0.2, sprintf('%.0f ms of CPU in a second', $used * 1000));
    same('hello', $client->send('hello')->message());

    foreach ($waiting as $other) {
        $other->drop();
    }
    $server->lives();
    check($server->stats()['acceptErrors'] > 0, 'no failed accept was counted');
});

test('slow clients that use up all descriptors are cut in time, and others are served', function (): void {
    $server = confined(['handshakeTimeout' => 1.0]);
    $slow = [];
    for ($i = 0; $i < 250; $i++) {
        $slow[] = $server->connect()->raw("GET / HTTP/1.1\r\nX-Slow: ");
    }
    $took = seconds(fn () => $server->lives());
    check($took < 8.0, sprintf('another client waited for %.1f s', $took));
    check($server->stats()['handshakeTimeouts'] >= 100, 'no handshake timed out');
});

test('maxConnections is what the limit of descriptors allows', function (): void {
    $server = confined();
    $clients = [];
    do {
        $client = $server->connect();
        $status = $client->raw($client->upgradeRequest())->response()->status;
        $clients[] = $client;
    } while ($status === 101 && count($clients) < 250);
    same(503, $status, 'status of the last one');
    check(count($clients) > 50, 'only ' . count($clients) . ' clients were served');
    same('hello', $clients[0]->send('hello')->message());
});
