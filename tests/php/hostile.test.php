<?php

declare(strict_types=1);

// Bytes that no well-behaved client sends.

require __DIR__ . '/lib/bootstrap.php';

$server = TestServer::start(['handshakeTimeout' => 2.0]);

/** The bytes that the server sends in response to raw bytes before it ends the connection, or ''. */
function answer(TestServer $server, string $bytes, bool $half = false): string
{
    $client = $server->connect();
    try {
        $client->raw($bytes);
        $half && stream_socket_shutdown($client->stream, STREAM_SHUT_WR);
    } catch (RuntimeException) {
    }
    $client->ended();
    return $client->buffer;
}

$upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: " . Client::KEY . "\r\nSec-WebSocket-Version: 13\r\n";
$garbage = [
    'a TLS ClientHello' => "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" . str_repeat("\xab", 500),
    'zero bytes' => str_repeat("\0", 2000),
    'arbitrary text' => "hello\r\nhow are you\r\n\r\n",
    'a WebSocket frame without a handshake' => Client::encode(Client::TEXT, 'hello') . "\r\n\r\n",
    'an HTTP version that does not exist' => "GET / HTTP/9.9\r\nHost: localhost\r\n{$upgrade}\r\n",
    'HTTP/0.9' => "GET /\r\n\r\n",
    'a header without a colon' => "GET / HTTP/1.1\r\nHost: localhost\r\n{$upgrade}nonsense\r\n\r\n",
    'a space before the colon' => "GET / HTTP/1.1\r\nHost : localhost\r\n{$upgrade}\r\n",
    'a zero byte in a header' => "GET / HTTP/1.1\r\nHost: local\0host\r\n{$upgrade}\r\n",
    'a folded header line' => "GET / HTTP/1.1\r\nHost: localhost\r\n{$upgrade}X-A: b\r\n  c\r\n\r\n",
    'a target with a space' => "GET /a b HTTP/1.1\r\nHost: localhost\r\n{$upgrade}\r\n",
    'two different lengths' => "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    'a negative length' => "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\nhello",
    'a chunk size that is not a number' => "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    'an unknown transfer encoding' => "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: nonsense\r\n\r\nhello",
];
foreach ($garbage as $what => $bytes) {
    test("$what in place of a handshake is refused, and the server keeps running", function () use ($server, $bytes): void {
        $answer = answer($server, $bytes);
        check($answer === '' || preg_match('~^HTTP/1\.[01] (4\d\d|505) ~', $answer) === 1, 'answered ' . json_encode(substr($answer, 0, 80)));
        $server->lives();
    });
}

test('the HTTP/2 preface on a plain port gets GOAWAY with HTTP_1_1_REQUIRED and an explanation', function () use ($server): void {
    $answer = answer($server, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0");
    same("\0\0\0\4\0\0\0\0\0", substr($answer, 0, 9), 'SETTINGS');
    // The end of the length, then type, flags and stream id; then the last stream id and the error code.
    same('07000000000000000000' . '0000000d', bin2hex(substr($answer, 12, 14)), 'GOAWAY');
    check(str_contains($answer, 'use HTTP/1.1 here'), 'the explanation is missing');
    $server->lives();
});

test('Upgrade: h2c is ignored', function () use ($server): void {
    $answer = answer($server, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n");
    check(str_starts_with($answer, 'HTTP/1.1 200 '), "answered $answer");
});

$handshakes = [
    // name => [status, headers, method]
    'POST' => [405, [], 'POST'],
    'no version' => [426, ['Sec-WebSocket-Version' => []]],
    'version 8' => [426, ['Sec-WebSocket-Version' => '8']],
    'a version that is not a number' => [426, ['Sec-WebSocket-Version' => 'new']],
    'no key' => [400, ['Sec-WebSocket-Key' => []]],
    'an empty key' => [400, ['Sec-WebSocket-Key' => '']],
    'a key of the wrong length' => [400, ['Sec-WebSocket-Key' => 'c2hvcnQ=']],
    'a key that is not base64' => [400, ['Sec-WebSocket-Key' => '!!!!!!!!!!!!!!!!!!!!!!==']],
    'a foreign origin' => [403, ['Origin' => 'http://evil.example']],
    'the origin of a sandboxed page' => [403, ['Origin' => 'null']],
    'no Connection' => [400, ['Connection' => []]],
    'no Upgrade' => [426, ['Upgrade' => []]],
    'no Host' => [400, ['Host' => []]],
    'a malformed Host' => [400, ['Host' => 'a/b']],
    'a user in Host' => [400, ['Host' => 'user@a']],
    'a malformed port in Host' => [400, ['Host' => 'a:http']],
    'a malformed Origin' => [400, ['Origin' => 'http://a/b']],
    'two Origins' => [400, ['Origin' => ['http://a', 'http://b']]],
];
foreach ($handshakes as $what => $case) {
    test("a handshake with $what gets $case[0] and an explanation", function () use ($case): void {
        // Without onRequest, so that nothing is served as a plain request.
        static $server;
        $server ??= TestServer::script(__DIR__ . '/servers/plain.php');
        $client = $server->connect();
        $response = $client->raw($client->upgradeRequest($case[1], '/', $case[2] ?? 'GET'))->response();
        same($case[0], $response->status, 'status');
        check(strlen(trim($response->body)) >= 10, 'the body has no explanation: ' . json_encode($response->body));
        if ($case[0] === 426) {
            same('13', $response->headers['sec-websocket-version'] ?? null, 'Sec-WebSocket-Version');
            same('websocket', $response->headers['upgrade'] ?? null, 'Upgrade');
            same('Upgrade, close', $response->headers['connection'] ?? null, 'Connection');
        }
        if ($case[0] === 405) {
            same('GET', $response->headers['allow'] ?? null, 'Allow');
        }
    });
}

test('an HTTP/1.0 handshake is refused', function (): void {
    $server = TestServer::script(__DIR__ . '/servers/plain.php');
    $client = $server->connect();
    $client->raw(str_replace('HTTP/1.1', 'HTTP/1.0', $client->upgradeRequest()));
    check($client->response()->status >= 400, 'HTTP/1.0 was upgraded');
});

test('a first frame that arrives with the handshake is not lost', function () use ($server): void {
    $client = $server->connect();
    $client->raw($client->upgradeRequest() . Client::encode(Client::TEXT, 'early') . Client::encode(Client::TEXT, 'bird'));
    same(101, $client->response()->status);
    same(['early', 'bird'], [$client->message(), $client->message()]);
});

test('half a frame that arrives with the handshake is not lost', function () use ($server): void {
    $client = $server->connect();
    $frame = Client::encode(Client::TEXT, 'in two halves');
    $client->raw($client->upgradeRequest() . substr($frame, 0, 5));
    same(101, $client->response()->status);
    same('in two halves', $client->raw(substr($frame, 5))->message());
});

test('100 KB that arrive with the handshake are not lost', function () use ($server): void {
    $client = $server->connect();
    $client->raw($client->upgradeRequest() . str_repeat(Client::encode(Client::TEXT, str_repeat('x', 1000)), 100));
    same(101, $client->response()->status);
    for ($i = 0; $i < 100; $i++) {
        same(1000, strlen($client->message()), "length of message $i");
    }
});

$violations = [
    // name => [close code, bytes after the handshake]
    'an unmasked frame' => [1002, Client::encode(Client::TEXT, 'hello', masked: false)],
    'RSV1' => [1002, Client::encode(Client::TEXT, 'hello', rsv: 4)],
    'RSV3' => [1002, Client::encode(Client::TEXT, 'hello', rsv: 1)],
    'RSV1 on a ping' => [1002, Client::encode(Client::PING, 'hello', rsv: 4)],
    'opcode 3' => [1002, Client::encode(3, 'hello')],
    'opcode 7' => [1002, Client::encode(7, '')],
    'opcode 11' => [1002, Client::encode(11, 'hello')],
    'opcode 15' => [1002, Client::encode(15, '')],
    'a fragmented ping' => [1002, Client::encode(Client::PING, 'hello', fin: false)],
    'a ping of 126 bytes' => [1002, Client::encode(Client::PING, str_repeat('x', 126))],
    'a continuation without a message' => [1002, Client::encode(Client::CONTINUATION, 'hello')],
    'a message within a message' => [1002, Client::encode(Client::TEXT, 'a', fin: false) . Client::encode(Client::TEXT, 'b')],
    'a close frame of one byte' => [1002, Client::encode(Client::CLOSE, 'x')],
    'a close code of 999' => [1002, Client::encode(Client::CLOSE, pack('n', 999))],
    'a close code of 1005' => [1002, Client::encode(Client::CLOSE, pack('n', 1005))],
    'a close reason that is not UTF-8' => [1007, Client::encode(Client::CLOSE, pack('n', 1000) . "\xff")],
    'text that is not UTF-8' => [1007, Client::encode(Client::TEXT, "abc\xff")],
    'text that ends within a character' => [1007, Client::encode(Client::TEXT, "abc\xe2\x82")],
    'surrogates in text' => [1007, Client::encode(Client::TEXT, "\xed\xa0\x80")],
];
foreach ($violations as $what => [$code, $bytes]) {
    test("$what closes with $code", function () use ($code, $bytes): void {
        $server = TestServer::start();
        $client = $server->open()->raw($bytes);
        same((string) $code, substr($client->closeCode(), 0, 4), 'code sent');
        check(str_starts_with($server->closeLine(), (string) $code), 'onClose got another code');
        $client->ended();
        $server->counts('protocolErrors', 1);
    });
}

test('a length with the highest bit set is refused', function () use ($server): void {
    $client = $server->open()->raw("\x82\xff" . pack('J', 1 << 62 | PHP_INT_MIN) . 'mask');
    check(in_array((int) $client->closeCode(), [1002, 1009], true), 'it was not refused');
});

test('text that can no longer become UTF-8 is refused before the message ends', function () use ($server): void {
    $client = $server->open()->frame(Client::TEXT, "\xf4\x90", false);
    same('1007', substr($client->closeCode(2.0), 0, 4));
});

test('random bytes after the handshake never harm the server', function () use ($server): void {
    mt_srand(1);
    for ($i = 0; $i < 300; $i++) {
        $client = $server->open();
        $bytes = '';
        for ($length = mt_rand(1, 400); $length > 0; $length--) {
            $bytes .= chr(mt_rand(0, 255));
        }
        $client->raw($bytes)->drop();
    }
    $server->lives();
});

test('handshakes with a byte changed at random never harm the server', function () use ($server): void {
    mt_srand(2);
    $request = $server->connect()->upgradeRequest(['Origin' => 'http://x', 'Cookie' => 'a=b', 'Sec-WebSocket-Protocol' => 'a, b']);
    for ($i = 0; $i < 500; $i++) {
        $bytes = $request;
        for ($changes = mt_rand(1, 3); $changes > 0; $changes--) {
            $bytes[mt_rand(0, strlen($bytes) - 1)] = chr(mt_rand(0, 255));
        }
        $client = $server->connect();
        $client->raw($bytes);
        $i % 3 ? $client->drop() : null;
        $kept[] = $client;
    }
    $server->lives();
});

test('frames changed at random never harm the server', function () use ($server): void {
    mt_srand(3);
    for ($i = 0; $i < 300; $i++) {
        $bytes = Client::encode(Client::TEXT, 'hello', false) . Client::encode(Client::PING, '?') .
            Client::encode(Client::CONTINUATION, str_repeat('x', 200)) . Client::encode(Client::CLOSE, pack('n', 1000) . 'bye');
        $bytes[mt_rand(0, strlen($bytes) - 1)] = chr(mt_rand(0, 255));
        $server->open()->raw($bytes)->drop();
    }
    $server->lives();
    check($server->child->isRunning(), 'the server ended');
});

test('a socket is released when its peer has gone, even while PHP still handles messages from before a protocol error', function (): void {
    $server = TestServer::start(['closeTimeout' => 60.0]);
    $before = $server->stats()['descriptors'];
    for ($i = 0; $i < 30; $i++) {
        $server->open()->raw(Client::encode(Client::TEXT, 'hello') . Client::encode(3, 'no such opcode'))->drop();
    }
    $server->counts('closed', 30);
    until(fn (): bool => $server->stats()['descriptors'] <= $before, 'the sockets are closed');
});

test('no connection is left at the end', function () use ($server): void {
    $server->counts('connections', 0, 20.0);
    same(0, $server->stats()['count'], 'connections known to PHP');
    same(0, $server->stop(), 'exit status');
});
