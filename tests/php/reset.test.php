<?php

declare(strict_types=1);

// Clients that send a TCP RST in each phase of a connection.

require __DIR__ . '/lib/bootstrap.php';

if (!extension_loaded('sockets')) {
    skip('RST in each phase', 'needs the sockets extension');
    exit;
}

$phases = [
    'before the request' => fn (TestServer $server) => $server->connect(),
    'in the middle of the header' => fn (TestServer $server) => $server->connect()->raw("GET / HTTP/1.1\r\nHost: loc"),
    'in the middle of a body' => fn (TestServer $server) => $server->connect()
        ->raw("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf"),
    'right after the request' => function (TestServer $server): Client {
        $client = $server->connect();
        return $client->raw($client->upgradeRequest());
    },
    'after the handshake' => fn (TestServer $server) => $server->open(),
    'in the middle of a frame' => fn (TestServer $server) => $server->open()->raw("\x82\xff" . pack('J', 1000) . 'mask' . 'half'),
    'in the middle of a fragmented message' => fn (TestServer $server) => $server->open()->frame(Client::TEXT, 'half', false),
    'with messages in transit to PHP' => fn (TestServer $server) => $server->open()->raw(str_repeat(Client::encode(Client::TEXT, 'x'), 500)),
    'with messages in transit to the client' => fn (TestServer $server) => $server->open()->send('flood 100 65536'),
    'while the server closes' => function (TestServer $server): Client {
        $client = $server->open()->send('close 4000 bye');
        $client->closeCode();
        return $client;
    },
    'after its own close frame' => fn (TestServer $server) => $server->open()->sendClose(1000),
];

foreach ([false, true] as $upgrade) {
    foreach ($phases as $phase => $reach) {
        $name = "an RST $phase leaves nothing behind" . ($upgrade ? ', with onUpgrade' : '');
        test($name, function () use ($reach, $upgrade): void {
            $server = TestServer::start([], ['upgrade' => $upgrade]);
            $server->lives();
            $server->counts('connections', 0);
            $before = $server->stats();
            for ($i = 0; $i < 10; $i++) {
                $reach($server)->reset();
            }
            $server->lives();
            $server->counts('connections', 0);
            until(fn (): bool => $server->stats()['count'] === 0, 'every onClose has run');
            until(fn (): bool => $server->stats()['descriptors'] <= $before['descriptors'], 'every socket is closed');
            $after = $server->stats();
            same($after['opened'], $after['closed'], 'closed');
            check($server->child->isRunning(), 'the server ended');
            same(0, $server->stop(), 'exit status');
            same(
                preg_match_all('/^open /m', $server->child->output),
                preg_match_all('/^close /m', $server->child->output),
                'number of onClose',
            );
        });
    }
}

test('a client can send an RST while its handshake waits for PHP', function (): void {
    $server = TestServer::start([], ['upgrade' => true]);
    $busy = $server->open()->send('sleep 0.7');
    for ($i = 0; $i < 10; $i++) {
        $client = $server->connect();
        $client->raw($client->upgradeRequest())->reset();
    }
    $server->lives();
    same('hello', $busy->send('hello')->message());
    until(fn (): bool => $server->stats()['count'] === 1, 'all ten handshakes are gone');
    same(1, $server->stats()['connections'], 'connections');
});

test('stats() counts abnormal closes', function (): void {
    $server = TestServer::start();
    $server->open()->reset();
    $server->open()->drop();
    $server->counts('abnormal', 2);
    same('1006', substr($server->closeLine(), 0, 4));
    same('1006', substr($server->closeLine(), 0, 4));
});

test('thousands of resets leak no descriptor and no memory', function (): void {
    $server = TestServer::start();
    for ($i = 0; $i < 300; $i++) {
        $server->open()->reset();
    }
    $server->counts('connections', 0);
    $before = $server->stats();
    $deadline = microtime(true) + 20;
    for ($i = 0; $i < 10_000 && microtime(true) < $deadline; $i++) {
        $server->connect()->raw("GET / HTTP/1.1\r\n")->reset();
    }
    $server->lives();
    until(fn (): bool => $server->stats()['descriptors'] <= $before['descriptors'], 'every socket is closed');
    $grown = $server->stats()['rss'] - $before['rss'];
    check($grown < 8000, "$grown KiB more after $i resets");
});
