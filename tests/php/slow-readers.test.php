<?php

declare(strict_types=1);

// Clients that read slowly but steadily get everything that the server has accepted for them, and do
// not count as dead. The timeouts are much shorter than the transfer.

require __DIR__ . '/lib/bootstrap.php';
require __DIR__ . '/lib/Certificates.php';
require __DIR__ . '/lib/Node.php';

/** Messages of 100 kB. Together they exceed what the kernel buffers for a slow client. */
const MESSAGES = 80, SIZE = 100_000, FRAME = SIZE + 4 + 6;
/** Bytes per second. */
const RATE = 4e6;

/**
 * Reads at a steady rate until $enough, which gets the number of bytes so far, returns true, or to the
 * end. The client's buffer keeps only the last bytes.
 *
 * @return int Number of bytes read.
 */
function slowly(Client $client, ?callable $enough = null, float $rate = RATE): int
{
    $start = microtime(true);
    $all = strlen($client->buffer);
    while (!feof($client->stream) && !($enough !== null && $enough($all))) {
        $bytes = (string) @fread($client->stream, 65536);
        $all += strlen($bytes);
        $client->buffer = substr($client->buffer . $bytes, -200);
        usleep((int) max(1000, ($all / $rate - microtime(true) + $start) * 1e6));
        check(microtime(true) - $start < 60.0, "$all bytes within a minute");
    }
    $client->eof = feof($client->stream);
    return $all;
}

/** Starts a server, and connects a client with a small receive buffer. */
function pair(array $options, array $context = []): array
{
    $server = TestServer::start($options + ['sendBufferLimit' => 16 << 20]);
    $client = $server->connect($context);
    socket_set_option(socket_import_stream($client->stream), SOL_SOCKET, SO_RCVBUF, 65536);
    return [$server, $client->open()];
}

/** Whether the buffer ends with this close frame. */
function closes(Client $client, int $code, string $reason): bool
{
    $frame = "\x88" . chr(2 + strlen($reason)) . pack('n', $code) . $reason;
    return str_ends_with($client->buffer, $frame);
}

test('all messages arrive before the close frame, however long that takes', function (): void {
    [$server, $client] = pair(['closeTimeout' => 0.4]);
    $client->send('flood ' . MESSAGES . ' ' . SIZE)->send('close 4000 done');
    $took = seconds(function () use ($client, &$all): void {
        $all = slowly($client, fn (): bool => closes($client, 4000, 'done'));
    });
    check($all > MESSAGES * SIZE, "$all bytes");
    check($took > 1.2, sprintf('it took %.2f s: too fast to test a slow reader', $took));
    $client->sendClose(4000, 'done')->ended();
    same('4000 done', $server->closeLine());
    same(0, $server->stats()['closeTimeouts'], 'close timeouts');
});

test('all messages arrive before the close frame over TLS as well', function (): void {
    $certificates = new Certificates();
    [$server, $client] = [
        $s = TestServer::start(
            ['sendBufferLimit' => 16 << 20, 'closeTimeout' => 0.4, 'tls' => $certificates->issue('localhost')],
            ['listen' => 'wss://127.0.0.1:0'],
        ),
        $s->connect(['ssl' => ['verify_peer' => false, 'verify_peer_name' => false]])->open(),
    ];
    $client->send('flood ' . MESSAGES . ' ' . SIZE)->send('close 4000 done');
    $all = slowly($client, fn (): bool => closes($client, 4000, 'done'));
    check($all > MESSAGES * SIZE, "$all bytes");
    $client->sendClose(4000, 'done')->ended();
    same('4000 done', $server->closeLine());
});

test('a client that stops reading is cut within closeTimeout', function (): void {
    [$server, $client] = pair(['closeTimeout' => 0.4]);
    $client->send('flood ' . MESSAGES . ' ' . SIZE)->send('close 4000 done');
    slowly($client, fn (int $all): bool => $all > 1_000_000);
    $took = seconds(fn () => $server->closeLine());
    check($took > 0.1 && $took < 8.0, sprintf('after %.2f s', $took));
    $server->counts('closeTimeouts', 1);
});

test('a client that answers with a close frame gets the messages sent before it', function (): void {
    [$server, $client] = pair(['closeTimeout' => 0.4]);
    // The message and the close frame arrive in one segment.
    $client->raw(Client::encode(Client::TEXT, 'flood ' . MESSAGES . ' ' . SIZE) . Client::encode(Client::CLOSE, pack('n', 1000)));
    $all = slowly($client);
    same(MESSAGES * (SIZE + 10) + 4, $all, 'bytes');
    check(closes($client, 1000, ''), 'the close frame is missing at the end');
});

test('a stopping server lets clients read to the end within the grace period', function (): void {
    [$server, $client] = pair(['closeTimeout' => 0.4]);
    $client->send('flood ' . MESSAGES . ' ' . SIZE);
    $server->child->line('/^flooded /');
    $server->signal(15);
    $reason = 'the server is shutting down';
    $all = slowly($client, fn (): bool => closes($client, 1001, $reason));
    check($all > MESSAGES * SIZE, "$all bytes");
    $client->sendClose(1001)->ended();
    same(0, $server->child->wait(), 'exit status');
});

$ends = [
    'a reload' => fn (Node $node, Client $other) => $node->reload(),
    'a worker replaced after maxRequests' => fn (Node $node, Client $other) => $other->raw(str_repeat(Client::encode(Client::TEXT, 'hello'), 500)),
];
foreach ($ends as $name => $end) {
    test("$name lets clients read to the end, and cuts clients that do not read", function () use ($end): void {
        $node = Node::start(['closeTimeout' => 0.4, 'sendBufferLimit' => 16 << 20, 'maxRequests' => 500], sprintf(<<<'PHP'
            function extend($server) {
                $server->onPong(function ($connection) {
                    $sent = 0;
                    while ($sent < %d && $connection->send(str_repeat('x', %d))) {
                        $sent++;
                    }
                    echo "flooded $sent\n";
                });
                $server->onClose(function ($connection, $code, $reason) {
                    echo "close $code $reason\n";
                });
            }
            PHP, MESSAGES, SIZE));
        [$slow, $stuck, $other] = array_map(fn (): Client => $node->clients(1)[1], range(1, 3));
        foreach ([$slow, $stuck] as $client) {
            socket_set_option(socket_import_stream($client->stream), SOL_SOCKET, SO_RCVBUF, 65536);
            $client->frame(Client::PONG, 'flood');
            $node->line('/^flooded ' . MESSAGES . '$/');
        }
        $end($node, $other);
        $reason = 'the server is restarting';
        // Reads slowly enough to be unfinished when the other client is cut.
        $all = slowly($slow, function () use ($node): bool {
            $node->server->child->take();
            return str_contains($node->server->child->output, 'close 1006 the peer did not answer the close frame');
        }, RATE / 8);
        check($all < MESSAGES * SIZE, 'the client that does not read was not cut before the reading one was finished');
        $all += slowly($slow, fn (): bool => closes($slow, 1001, $reason)) - 200;
        check($all > MESSAGES * SIZE, "$all bytes");
        $slow->sendClose(1001, $reason)->ended();
        $node->line("/^close 1001 $reason$/");
        $node->stop();
    });
}

test('reading counts as a sign of life', function (): void {
    [$server, $client] = pair(['pingInterval' => 0.3, 'pingTimeout' => 0.3]);
    $client->send('flood ' . MESSAGES . ' ' . SIZE);
    // The ping is queued behind the messages, so its answer comes late.
    $ping = "\x89\x04\0spk";
    $all = slowly($client, fn (int $all): bool => $all >= MESSAGES * SIZE && str_contains($client->buffer, $ping));
    check($all > MESSAGES * SIZE, "$all bytes");
    $client->frame(Client::PONG, "\0spk");
    $client->buffer = '';
    same('hello', $client->send('hello')->message());
    same(0, $server->stats()['pingTimeouts'], 'ping timeouts');
});

test('a client that neither reads nor sends counts as dead', function (): void {
    [$server, $client] = pair(['pingInterval' => 0.3, 'pingTimeout' => 0.3]);
    $client->send('flood ' . MESSAGES . ' ' . SIZE);
    $took = seconds(fn () => $server->closeLine());
    check($took >= 0.5 && $took < 8.0, sprintf('after %.2f s', $took));
    $server->counts('pingTimeouts', 1);
});

test('a plain response arrives in full even if the client keeps sending', function (): void {
    [$server, $client] = [$s = TestServer::start(['handshakeTimeout' => 0.8]), $s->connect()];
    socket_set_option(socket_import_stream($client->stream), SOL_SOCKET, SO_RCVBUF, 65536);
    $client->raw("GET /large?bytes=6000000 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    // Unread input makes the kernel reset a socket that is closed.
    $all = slowly($client, function () use ($client): bool {
        @fwrite($client->stream, 'x');
        return false;
    }, 1.5e6);
    check($all > 6_000_000, "$all bytes");
});

test('a client that sends a refused body can still read the reason', function (): void {
    $server = TestServer::start(['maxBodySize' => 1000]);
    $client = $server->connect();
    $client->raw("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20000000\r\n\r\n");
    // Like clients that look for an answer only after sending the whole body.
    stream_set_blocking($client->stream, true);
    for ($sent = 0; $sent < 20_000_000; $sent += $n) {
        $n = fwrite($client->stream, str_repeat('x', 100_000));
        check($n > 0, "cut after $sent bytes");
    }
    stream_set_blocking($client->stream, false);
    same(413, $client->response()->status);
});
