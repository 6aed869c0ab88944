<?php

declare(strict_types=1);

// The server when the process runs out of descriptors.

require __DIR__ . '/lib/bootstrap.php';

/** Starts a server with a low limit of descriptors. */
function confined(array $options = []): TestServer
{
    $settings = escapeshellarg(json_encode(['options' => (object) $options], JSON_PRESERVE_ZERO_FRACTION));
    return TestServer::command([
        'sh', '-c', 'ulimit -n 200 && exec ' . Child::php() . ' ' . __DIR__ . "/servers/echo.php $settings",
    ]);
}

test('without free descriptors new clients wait, connected ones are served, and the server uses no CPU', function (): void {
    $server = confined();
    $client = $server->open();
    $opened = (int) $client->send('files 1000')->message();
    check($opened > 64, "PHP could open $opened files");
    $waiting = $server->connect()->raw('GET / HTTP/1.1');
    $before = cpu_seconds($server->child->pid);
    $took = seconds(function () use ($server): void {
        $alone = stream_socket_client(str_replace('ws://', 'tcp://', $server->address));
        stream_set_timeout($alone, 1);
        fread($alone, 1);
    });
    $used = cpu_seconds($server->child->pid) - $before;
    check($used < 0.2 * max(1.0, $took), sprintf('%.0f ms of CPU in %.1f s', $used * 1000, $took));
    same('hello', $client->send('hello')->message());

    same('0', $client->send('files 0')->message());
    $waiting->raw("\r\nHost: x\r\n\r\n");
    $server->lives();
    check($server->stats()['acceptErrors'] > 0, 'no failed accept was counted');
});

foreach ([
    'that never finish their request' => "GET / HTTP/1.1\r\nX-Slow: ",
    'that send nothing' => '',
    'that stay idle after an answer' => "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    'that never finish the body of their request' => "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1",
] as $which => $bytes) {
    test("clients $which do not keep newcomers out, and leave descriptors for PHP", function () use ($bytes): void {
        $server = confined();
        $client = $server->open();
        $slow = [];
        for ($i = 0; $i < 400; $i++) {
            $slow[] = $server->connect();
            if ($bytes !== '') {
                end($slow)->raw($bytes);
            }
        }
        for ($i = 0; $i < 5; $i++) {
            $took = seconds(fn () => $server->lives());
            // Without maxHandshakes such clients would be cut only after handshakeTimeout, 10 s.
            check($took < 4.0, sprintf('a newcomer waited for %.1f s', $took));
        }
        same('60', $client->send('files 60')->message(), 'files that PHP could open');
        same('0', $client->send('files 0')->message());
        $stats = $server->stats();
        check($stats['handshakesDisplaced'] > 100, "{$stats['handshakesDisplaced']} were displaced");
        same(0, $stats['acceptErrors'], 'failed accepts');
    });
}

test('requests that wait for PHP are not displaced', function (): void {
    $server = confined(['maxHandshakes' => 4]);
    $client = $server->open();
    $asking = [];
    $client->send('sleep 1');
    for ($i = 0; $i < 3; $i++) {
        $asking[] = $server->connect()->raw("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    $slow = [];
    for ($i = 0; $i < 20; $i++) {
        $slow[] = $server->connect()->raw('GET ');
    }
    foreach ($asking as $asked) {
        same(200, $asked->response()->status);
    }
    $server->lives();
});

test('the limit of descriptors bounds maxConnections', function (): void {
    $server = confined();
    $clients = [];
    do {
        $client = $server->connect();
        $status = $client->raw($client->upgradeRequest())->response()->status;
        $clients[] = $client;
    } while ($status === 101 && count($clients) < 250);
    same(503, $status, 'status of the last handshake');
    check(count($clients) > 50, 'only ' . count($clients) . ' clients were served');
    same('hello', $clients[0]->send('hello')->message());
});
