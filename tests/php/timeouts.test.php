<?php

declare(strict_types=1);

// Each timeout of Options with its counter: dead, slow and silent clients.

require __DIR__ . '/lib/bootstrap.php';

/** Checks that a wait took between the timeout and three times as long, or 5 s; busy machines are slow. */
function about(float $set, float $took): void
{
    check($took >= $set * 0.9, sprintf('after %.2f s, earlier than %.2f s', $took, $set));
    check($took <= max(5.0, $set * 3), sprintf('after %.2f s, much later than %.2f s', $took, $set));
}

/** Waits until the server begins to answer, without reading the answer. */
function answered(Client $client): void
{
    $read = [$client->stream];
    $none = null;
    check(stream_select($read, $none, $none, 10) === 1, 'no answer within 10 s');
}

test('a missing pong reveals a half-open peer', function (): void {
    $server = TestServer::start(['pingInterval' => 0.3, 'pingTimeout' => 0.3]);
    $client = $server->open();
    $took = seconds(fn () => $client->ended());
    about(0.6, $took);
    same(1, substr_count($client->buffer, "\x89"), 'pings sent');
    check(str_starts_with($server->closeLine(), '1006 '), 'onClose got another code, or no reason');
    $server->counts('pingTimeouts', 1);
    $server->counts('pings', 1);
    $server->lives();
});

test('a peer that stops in the middle of a frame and only acknowledges at TCP level is detected', function (): void {
    $server = TestServer::start(['pingInterval' => 0.3, 'pingTimeout' => 0.3]);
    $client = $server->open()->raw("\x82\xff" . pack('J', 1000) . 'mask' . 'half of it');
    about(0.6, seconds(fn () => $client->ended()));
    $server->counts('pingTimeouts', 1);
});

test('received messages count as a sign of life', function (): void {
    $server = TestServer::start(['pingInterval' => 0.7, 'pingTimeout' => 0.7]);
    $client = $server->open();
    $until = microtime(true) + 1.6;
    while (microtime(true) < $until) {
        same('hello', $client->send('hello')->message());
        usleep(50_000);
    }
    same(0, $server->stats()['pings'], 'pings sent');
    same(0, $server->stats()['pingTimeouts'], 'ping timeouts');
});

test('after a ping, a pong or any other frame keeps the connection', function (): void {
    $server = TestServer::start(['pingInterval' => 0.2, 'pingTimeout' => 1.0]);
    [$ponging, $talking] = [$server->open(), $server->open()];
    $until = microtime(true) + 1.5;
    while (microtime(true) < $until) {
        $ponging->take();
        while (str_starts_with($ponging->buffer, "\x89")) {
            $ponging->frame(Client::PONG, $ponging->read()->payload);
        }
        $talking->take();
        while ($talking->buffer !== '') {
            if ($talking->read()->opcode === Client::PING) {
                $talking->frame(Client::TEXT, 'no pong');
            }
        }
        usleep(10_000);
    }
    check($server->stats()['pings'] >= 4, 'too few pings were sent');
    same(2, $server->stats()['connections'], 'connections');
});

test('pingInterval 0 sends no pings and keeps silent peers', function (): void {
    $server = TestServer::start(['pingInterval' => 0.0, 'pingTimeout' => 0.1]);
    $client = $server->open();
    usleep(700_000);
    $client->take();
    same('', $client->buffer, 'received');
    same('hello', $client->send('hello')->message());
});

test('a client that sends nothing is cut after handshakeTimeout', function (): void {
    $server = TestServer::start(['handshakeTimeout' => 0.4]);
    $client = $server->connect();
    about(0.4, seconds(fn () => $client->ended()));
    $server->lives();
});

test('a client that writes its header slowly is cut after handshakeTimeout', function (): void {
    $server = TestServer::start(['handshakeTimeout' => 0.5]);
    $client = $server->connect();
    $request = $client->upgradeRequest();
    $took = seconds(function () use ($client, $request): void {
        foreach (str_split($request) as $byte) {
            try {
                $client->raw($byte);
            } catch (RuntimeException) {
            }
            if ($client->eof) {
                return;
            }
            usleep(40_000);
        }
    });
    check($client->eof, 'the server accepted the whole header');
    about(0.5, $took);
    check(!str_contains($client->buffer, ' 101 '), 'the handshake was answered');
    $server->counts('handshakeTimeouts', 1);
    $server->lives();
});

test('a client that writes its header slowly, but in time, is served', function (): void {
    $server = TestServer::start(['handshakeTimeout' => 10.0]);
    $client = $server->connect();
    foreach (str_split($client->upgradeRequest(), 7) as $piece) {
        $client->raw($piece);
        usleep(5000);
    }
    same(101, $client->response()->status);
});

test('a request whose body does not arrive is cut', function (): void {
    $server = TestServer::start(['handshakeTimeout' => 0.4]);
    $client = $server->connect()->raw("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf");
    $took = seconds(fn () => $client->ended());
    check($took < 8.0, sprintf('the connection stayed open for %.1f s', $took));
    $server->lives();
});

test('a keep-alive connection without another request is closed', function (): void {
    $server = TestServer::start(['handshakeTimeout' => 0.4]);
    $client = $server->connect()->raw("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    same(200, $client->response()->status);
    $took = seconds(fn () => $client->ended());
    check($took < 8.0, sprintf('the connection stayed open for %.1f s', $took));
});

test('a response that is not read does not keep the connection open', function (): void {
    $server = TestServer::start(['handshakeTimeout' => 0.4]);
    $idle = $server->descriptors();
    $client = $server->connect();
    // Small responses would fit into the kernel's buffers, and only keep the processor busy.
    $client->raw(str_repeat("GET /large?bytes=1000000 HTTP/1.1\r\nHost: localhost\r\n\r\n", 100));
    answered($client);
    until(fn (): bool => $server->descriptors() <= $idle, 'the socket is closed', 20.0);
    $server->lives();
});

test('a large response that is not read does not keep the connection open', function (): void {
    $server = TestServer::start(['handshakeTimeout' => 0.5]);
    $idle = $server->descriptors();
    $client = $server->connect()->raw("GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n");
    answered($client);
    until(fn (): bool => $server->descriptors() <= $idle, 'the socket is closed', 20.0);
    $client->ended();
    check(strlen($client->buffer) < 20_000_000, 'the response was sent in full');
});

test('a large response that is read slowly arrives in full', function (): void {
    $server = TestServer::start(['handshakeTimeout' => 2.0]);
    $client = $server->connect()->raw("GET /large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream_set_chunk_size($client->stream, 400_000);
    $length = 0;
    $start = microtime(true);
    while (!feof($client->stream)) {
        $length += strlen((string) fread($client->stream, 400_000));
        usleep(50_000);
        check(microtime(true) - $start < 30.0, "only $length bytes in 30 s");
    }
    check($length > 20_000_000, "$length bytes after " . round(microtime(true) - $start, 1) . ' s');
    check(microtime(true) - $start > 2.1, 'the client did not read slowly');
});

test('a handshake that PHP does not answer in time gets 503', function (): void {
    $server = TestServer::start(['handshakeTimeout' => 0.5], ['upgrade' => true]);
    $busy = $server->open()->send('sleep 2');
    $client = $server->connect();
    $client->raw($client->upgradeRequest());
    $took = seconds(function () use ($client): void {
        same(503, $client->response()->status);
    });
    about(0.5, $took);
    $client->ended();
    $server->counts('handshakeTimeouts', 1);
});

test('handshakeTimeout covers a whole handshake or request', function (): void {
    $server = TestServer::start(['handshakeTimeout' => 4.0, 'maxPendingMessages' => 10], ['upgrade' => true]);
    $busy = $server->open();
    [$upgrade, $post] = [$server->connect(), $server->connect()];
    $start = microtime(true);
    $request = $upgrade->upgradeRequest();
    $upgrade->raw(substr($request, 0, 20));
    $post->raw("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n");
    usleep(2_500_000);
    $busy->send('sleep 6');
    $upgrade->raw(substr($request, 20));
    $post->raw("\r\nhalf");
    same(503, $upgrade->response()->status);
    same(408, $post->response()->status);
    $took = microtime(true) - $start;
    check($took > 3.5 && $took < 6.0, sprintf('after %.2f s', $took));
});

test('a client that has shut down its sending side gets the answer to a plain request', function (): void {
    $server = TestServer::start();
    // Makes PHP answer later.
    $busy = $server->open()->send('sleep 0.5');
    foreach (['GET / HTTP/1.1', 'GET /large?bytes=5000000 HTTP/1.1'] as $line) {
        $client = $server->connect()->raw("$line\r\nHost: localhost\r\n\r\n");
        stream_socket_shutdown($client->stream, STREAM_SHUT_WR);
        $response = $client->response();
        same(200, $response->status);
        same((int) $response->headers['content-length'], strlen($response->body), 'bytes');
        $client->ended();
    }
    $server->lives();
});

test('a client that disconnects early leaves nothing behind', function (): void {
    $server = TestServer::start(['handshakeTimeout' => 30.0], ['upgrade' => true]);
    $idle = $server->descriptors();
    $busy = $server->hold($server->open());
    $clients = [];
    for ($i = 0; $i < 10; $i++) {
        $clients[] = $client = $server->connect();
        $client->raw($i & 1 ? $client->upgradeRequest() : "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    }
    until(fn (): bool => $server->descriptors() >= $idle + 11, 'all connections are accepted');
    foreach ($clients as $i => $client) {
        $i & 2 ? $client->reset() : $client->drop();
    }
    $busy->drop();
    $server->release();
    until(fn (): bool => $server->descriptors() <= $idle, 'the sockets are closed');
    $server->counts('handshakes', 0);
});

test('a client that never answers the close is cut after closeTimeout', function (): void {
    $server = TestServer::start(['closeTimeout' => 0.4]);
    $client = $server->open();
    about(0.4, seconds(function () use ($client): void {
        same('4000 bye', $client->send('close 4000 bye')->closeCode());
        $client->ended();
    }));
    check(str_starts_with($server->closeLine(), '1006'), 'onClose got another code');
    $server->counts('closeTimeouts', 1);
    $server->lives();
});

test('a client that answers the close only with messages is cut after closeTimeout', function (): void {
    $server = TestServer::start(['closeTimeout' => 0.5]);
    $client = $server->open();
    $took = seconds(function () use ($client): void {
        $client->send('close 4000 bye')->closeCode();
        while (!$client->eof) {
            try {
                $client->send('still talking')->frame(Client::PING, '?');
            } catch (RuntimeException) {
                return;
            }
            usleep(20_000);
        }
    });
    about(0.5, $took);
    $server->counts('closeTimeouts', 1);
});

test('a client that does not close the socket after the closing handshake does not keep it open', function (): void {
    $server = TestServer::start(['closeTimeout' => 0.5]);
    $client = $server->open()->sendClose(1000);
    same('1000', $client->closeCode());
    $took = seconds(fn () => $client->ended());
    check($took < 8.0, sprintf('the socket stayed for %.1f s', $took));
    check(str_starts_with($server->closeLine(), '1000'), 'onClose got another code');
    $server->counts('connections', 0);
    same(0, $server->stats()['closeTimeouts'], 'close timeouts');
});

test('a client that closes only its sending side gets the messages sent to it, and the end of the connection', function (): void {
    $server = TestServer::start();
    $client = $server->open()->send('flood 100 10000');
    stream_socket_shutdown($client->stream, STREAM_SHUT_WR);
    $client->ended();
    check(str_starts_with($server->closeLine(), '1006'), 'onClose got another code');
    $server->counts('connections', 0);
    $server->lives();
});
