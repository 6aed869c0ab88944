<?php

declare(strict_types=1);

// While a PHP callback is busy, the I/O threads continue to serve.

require __DIR__ . '/lib/bootstrap.php';

/** Reads pending input, answers the server's pings, and returns whether the connection is open. */
function attend(Client $client): bool
{
    $client->take();
    while (str_starts_with($client->buffer, "\x89") && $frame = $client->read()) {
        $client->frame(Client::PONG, $frame->payload);
    }
    return !$client->eof && !str_starts_with($client->buffer, "\x88");
}

test('a handler that blocks for 3 s delays no other client', function (): void {
    // Timeouts shorter than the 3 s, so that they would expire.
    $server = TestServer::start([
        'pingInterval' => 0.4, 'pingTimeout' => 2.5, 'handshakeTimeout' => 2.5, 'metricsPath' => '/metrics',
    ]);
    $busy = $server->open();
    $clients = [];
    for ($i = 0; $i < 50; $i++) {
        $clients[] = $server->open();
    }
    $server->counts('connections', 51);
    $server->hold($busy);
    $start = microtime(true);

    // Until PHP is free again, the clients send pings in turn, and new clients connect.
    $pongs = $running = 0;
    $new = [];
    while (microtime(true) - $start < 3.0 || $pongs < 100 || count($new) < 3) {
        foreach ($clients as $i => $client) {
            $client->frame(Client::PING, "ping $i");
            while (($frame = $client->read() ?? throw new RuntimeException('a connection ended'))->opcode !== Client::PONG) {
                $client->frame(Client::PONG, $frame->payload); // answers a ping of the server
            }
            same("ping $i", $frame->payload, 'payload of the pong');
            $pongs++;
        }
        if (count($new) < 20) {
            $new[] = $server->open();
        }
        foreach ([$busy, ...$new] as $client) {
            check(attend($client), 'a connection was closed');
        }
        $page = $server->connect()->raw("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")->response()->body;
        preg_match('/^sprocket_callback_running_seconds (\S+)$/m', $page, $match);
        $running = max($running, (float) $match[1]);
        usleep(20_000);
    }
    $busy->send('hello');
    $server->release();

    // No connection was closed, and every client is served once PHP is free.
    same('hello', $busy->message());
    foreach ([...$clients, ...$new] as $i => $client) {
        same("echo $i", $client->send("echo $i")->message());
    }
    $stats = $server->stats();
    same(51 + count($new), $stats['connections'], 'connections');
    same(0, $stats['closed'], 'closed connections');
    same(0, $stats['pingTimeouts'], 'ping timeouts');
    check($running > 1.0, "metrics reported a callback running for $running s");
    same(51 + count($new), $stats['callbacks']['open']['calls'], 'calls of onOpen');
    check($stats['callbacks']['message']['seconds'] >= 3.0, 'seconds of onMessage: ' . $stats['callbacks']['message']['seconds']);
});

test('messages that arrive while PHP is busy wait, and are delivered in order', function (): void {
    $server = TestServer::start();
    $busy = $server->open()->send('sleep 1');
    $client = $server->open();
    for ($i = 0; $i < 100; $i++) {
        $client->send("$i");
    }
    for ($i = 0; $i < 100; $i++) {
        same("$i", $client->message(), 'message');
    }
});

test('timeouts are enforced while PHP is busy', function (): void {
    $server = TestServer::start(['pingInterval' => 0.3, 'pingTimeout' => 0.3, 'handshakeTimeout' => 0.4]);
    $busy = $server->open();
    [$dead, $slow] = [$server->open(), $server->connect()];
    $server->hold($busy);
    until(function () use ($busy, $dead, $slow): bool {
        check(attend($busy), 'the busy connection was closed');
        $dead->take();
        $slow->take();
        return $dead->eof && $slow->eof;
    }, 'the dead and the slow client have been cut');
    $server->release();
    same('1006', substr($server->closeLine(), 0, 4), 'code of the dead client');
});

test('a close is answered while PHP is busy', function (): void {
    $server = TestServer::start();
    $client = $server->open();
    $busy = $server->hold($server->open());
    same('1000', $client->close(1000));
    $server->release();
    same('1000', substr($server->closeLine(), 0, 4));
});

test('with onUpgrade new clients wait until PHP is free, and are then served', function (): void {
    $server = TestServer::start([], ['upgrade' => true]);
    $old = $server->open();
    $busy = $server->hold($server->open());
    $start = microtime(true);
    $new = [];
    for ($i = 0; $i < 10; $i++) {
        $new[] = $client = $server->connect();
        $client->raw($client->upgradeRequest());
    }
    while (microtime(true) - $start < 0.8) {
        foreach ($new as $client) {
            $client->take();
            same('', $client->buffer, 'answer before onUpgrade ran');
        }
        usleep(20_000);
    }
    $old->frame(Client::PING, 'still there?');
    same(Client::PONG, $old->read()->opcode, 'opcode');
    $server->release();
    foreach ($new as $i => $client) {
        same(101, $client->response()->status, 'status');
        same("echo $i", $client->send("echo $i")->message());
    }
});
