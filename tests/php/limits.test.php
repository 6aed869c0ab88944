<?php

declare(strict_types=1);

// Each limit of Options at byte level, with its counter.

require __DIR__ . '/lib/bootstrap.php';

/** The response to raw bytes; also checks that the connection ends after it. */
function refused(TestServer $server, string $bytes): object
{
    $client = $server->connect();
    try {
        $client->raw($bytes);
    } catch (RuntimeException) {
        // The server may cut the connection before it has read everything.
    }
    $response = $client->response();
    $client->ended();
    return $response;
}

test('a header block over maxHeaderSize gets 431', function (): void {
    $server = TestServer::start(['maxHeaderSize' => 8192]);
    $client = $server->connect();
    $response = refused($server, $client->upgradeRequest(['X-Long' => str_repeat('x', 9000)]));
    same(431, $response->status);
    check(strlen(trim($response->body)) > 5, 'the body has no explanation');
    $server->counts('badRequests', 1);
    $server->lives();
});

test('a request line over maxHeaderSize is refused', function (): void {
    $server = TestServer::start(['maxHeaderSize' => 8192]);
    $response = refused($server, $server->connect()->upgradeRequest([], '/' . str_repeat('x', 20_000)));
    check(in_array($response->status, [414, 431], true), "status $response->status");
    $server->counts('badRequests', 1);
    $server->lives();
});

test('many small headers count toward maxHeaderSize as well', function (): void {
    $server = TestServer::start(['maxHeaderSize' => 8192]);
    $headers = [];
    for ($i = 0; $i < 2000; $i++) {
        $headers["X-$i"] = '1';
    }
    $response = refused($server, $server->connect()->upgradeRequest($headers));
    same(431, $response->status);
    $server->lives();
});

test('a header block just below maxHeaderSize passes', function (): void {
    $server = TestServer::start(['maxHeaderSize' => 16384]);
    same(101, $server->open(['X-Long' => str_repeat('x', 15_000)])->head->status);
});

test('a header that never ends is cut off at maxHeaderSize', function (): void {
    $server = TestServer::start(['maxHeaderSize' => 8192]);
    $client = $server->connect()->raw("GET / HTTP/1.1\r\nHost: localhost\r\nX-Endless: ");
    try {
        for ($i = 0; $i < 200; $i++) {
            $client->raw(str_repeat('x', 65536));
        }
        throw new LogicException('the server accepted 13 MB of headers');
    } catch (RuntimeException) {
    }
    $server->lives();
});

foreach ([4096, 1 << 20] as $limit) {
    test("a frame that announces more than maxMessageSize ($limit) gets 1009 before its payload arrives", function () use ($limit): void {
        $server = TestServer::start(['maxMessageSize' => $limit]);
        $client = $server->open();
        $client->raw("\x82\xff" . pack('J', $limit + 1) . 'mask');
        same('1009', substr($client->closeCode(), 0, 4));
        check(str_starts_with($server->closeLine(), '1009'), 'onClose got another code');
        $server->counts('tooBig', 1);
        $server->lives();
    });

    test("fragments that exceed maxMessageSize ($limit) together get 1009", function () use ($limit): void {
        $server = TestServer::start(['maxMessageSize' => $limit]);
        $client = $server->open();
        $client->frame(Client::BINARY, str_repeat('x', $limit - 1), false);
        $client->frame(Client::CONTINUATION, 'x', false);
        $client->frame(Client::PING, 'still open');
        same(Client::PONG, $client->read()->opcode, 'opcode at the limit');
        $client->frame(Client::CONTINUATION, 'x', false);
        same('1009', substr($client->closeCode(), 0, 4));
        check(str_starts_with($server->closeLine(), '1009'), 'onClose got another code');
        $server->counts('tooBig', 1);
    });

    test("a message of exactly maxMessageSize ($limit) passes, whole and in fragments", function () use ($limit): void {
        $server = TestServer::start(['maxMessageSize' => $limit, 'sendBufferLimit' => 8 << 20]);
        $client = $server->open();
        $message = str_repeat('x', $limit);
        same(md5($message), md5($client->frame(Client::BINARY, $message)->message()), 'whole message');
        $client->frame(Client::BINARY, substr($message, 1), false)->frame(Client::CONTINUATION, 'x');
        same(md5($message), md5($client->message()), 'message in fragments');
    });
}

test('a length of 2^62 gets 1009, and no memory is allocated for it', function (): void {
    $server = TestServer::start();
    $before = $server->stats()['rss'];
    for ($i = 0; $i < 20; $i++) {
        $client = $server->open()->raw("\x82\xff" . pack('J', 1 << 62) . 'mask' . str_repeat('x', 1000));
        same('1009', substr($client->closeCode(), 0, 4));
    }
    check($server->stats()['rss'] - $before < 20_000, 'memory grew');
});

test('empty fragments take no memory, and a flood of them gets 1008', function (): void {
    $server = TestServer::start();
    $client = $server->open()->frame(Client::BINARY, '', false);
    $before = $server->stats()['rss'];
    $fragments = str_repeat(Client::encode(Client::CONTINUATION, '', false), 9_000);
    $client->raw($fragments)->frame(Client::CONTINUATION, 'end');
    same('end', $client->message());
    $client->frame(Client::BINARY, '', false);
    try {
        for ($i = 0; $i < 20; $i++) {
            $client->raw($fragments);
        }
    } catch (RuntimeException) {
        // The server has ended the connection.
    }
    same('1008 too many control frames or empty fragments', $client->closeCode());
    $server->counts('floodClosed', 1);
    check($server->stats()['rss'] - $before < 10_000, 'memory grew');
});

test('a body over maxBodySize gets 413', function (): void {
    $server = TestServer::start(['maxBodySize' => 1000]);
    $head = "POST / HTTP/1.1\r\nHost: localhost\r\n";
    same(413, refused($server, "{$head}Content-Length: 1001\r\n\r\n" . str_repeat('x', 1001))->status, 'status with length');
    $chunked = "{$head}Transfer-Encoding: chunked\r\n\r\n" . str_repeat("64\r\n" . str_repeat('x', 100) . "\r\n", 11);
    same(413, refused($server, $chunked)->status, 'status in chunks');
    $server->counts('badRequests', 2);
    $server->lives();
});

test('connections over maxConnections get 503, and a freed slot is available again', function (): void {
    $server = TestServer::start(['maxConnections' => 3]);
    $clients = [$server->open(), $server->open(), $server->open()];
    $client = $server->connect();
    $response = $client->raw($client->upgradeRequest())->response();
    same(503, $response->status);
    check(strlen(trim($response->body)) > 5, 'the body has no explanation');
    $server->counts('refusedConnections', 1);
    same(3, $server->stats()['connections'], 'connections');
    $clients[0]->close();
    until(function () use ($server): bool {
        $client = $server->connect();
        return $client->raw($client->upgradeRequest())->response()->status === 101;
    }, 'a free slot');
    same('hello', $clients[1]->send('hello')->message(), 'echo of an earlier client');
});

test('maxConnections includes handshakes that wait for PHP', function (): void {
    $server = TestServer::start(['maxConnections' => 2], ['upgrade' => true]);
    $busy = $server->open();
    $busy->send('sleep 1');
    $statuses = [];
    $clients = [];
    for ($i = 0; $i < 6; $i++) {
        $clients[] = $client = $server->connect();
        $client->raw($client->upgradeRequest());
    }
    foreach ($clients as $client) {
        $statuses[] = $client->response()->status;
    }
    sort($statuses);
    same([101, 503, 503, 503, 503, 503], $statuses, 'statuses');
});

test('connections over maxConnectionsPerIp get 429, and those from another address do not', function (): void {
    $server = TestServer::start(['maxConnectionsPerIp' => 2]);
    $clients = [$server->open(), $server->open()];
    $client = $server->connect();
    $response = $client->raw($client->upgradeRequest())->response();
    same(429, $response->status);
    check(strlen(trim($response->body)) > 5, 'the body has no explanation');
    $server->counts('refusedPerIp', 1);

    $context = stream_context_create(['socket' => ['bindto' => '127.0.0.2:0']]);
    $other = $server->connect();
    fclose($other->stream);
    $other->stream = stream_socket_client(str_replace('ws:', 'tcp:', $server->address), $n, $e, 5, STREAM_CLIENT_CONNECT, $context);
    stream_set_blocking($other->stream, false);
    same(101, $other->open()->head->status, 'status from another address');

    $clients[0]->close();
    until(function () use ($server): bool {
        $client = $server->connect();
        return $client->raw($client->upgradeRequest())->response()->status === 101;
    }, 'a free slot');
});

test('the server stops reading from a flooding client while PHP is busy, and loses no message', function (): void {
    $server = TestServer::start(['maxPendingMessages' => 50, 'sendBufferLimit' => 64 << 20]);
    $client = $server->open()->send('sleep 1');
    $frames = '';
    for ($i = 0; $i < 3000; $i++) {
        $frames .= Client::encode(Client::TEXT, str_pad("$i ", 4000, 'x'));
    }
    $client->raw($frames);
    for ($i = 0; $i < 3000; $i++) {
        check(str_starts_with($client->message(), "$i "), "message $i is out of order");
    }
    check($server->stats()['paused'] > 0, 'the socket was never paused');
});

test('maxPendingBytes bounds the messages queued for PHP', function (): void {
    $server = TestServer::start(['maxPendingBytes' => 100_000, 'maxPendingMessages' => 100_000, 'slowConsumer' => 'drop']);
    $before = $server->stats()['rss'];
    $clients = [];
    for ($i = 0; $i < 4; $i++) {
        $clients[] = $server->open();
    }
    $clients[0]->send('sleep 2');
    $chunk = str_repeat(Client::encode(Client::BINARY, str_repeat('x', 60_000)), 20);
    foreach ($clients as $client) {
        // As much as the kernel and the server accept.
        for ($total = 0; $total < 40; $total++) {
            if (!@fwrite($client->stream, $chunk)) {
                break;
            }
        }
    }
    $peak = 0;
    $deadline = microtime(true) + 1.0;
    while (microtime(true) < $deadline) {
        preg_match('/VmRSS:\s+(\d+)/', file_get_contents("/proc/{$server->child->pid}/status"), $m);
        $peak = max($peak, (int) $m[1]);
        usleep(50_000);
    }
    check($peak - $before < 12_000, 'the server uses ' . ($peak - $before) . ' KiB more');
    foreach ($clients as $client) {
        $client->drop();
    }
    $server->lives();
});
