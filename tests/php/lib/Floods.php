<?php

declare(strict_types=1);

/**
 * Traffic that a client can send without end, by name. Each flood is a list of four items: the
 * protocol (`http`, `ws`, `wss`, `h2`, or `connect` for repeated connections), the bytes sent once,
 * the bytes repeated without end (a string, or a function of the round's number), and the bytes per
 * write (0: as many as the socket accepts).
 */
final class Floods
{
    public const DATA = 0, HEADERS = 1, PRIORITY = 2, RST_STREAM = 3, SETTINGS = 4, PING = 6, WINDOW_UPDATE = 8, CONTINUATION = 9;

    /** @return array<string, array{string, string, string|Closure, int}> */
    public static function all(): array
    {
        $get = fn (string $path): array => ['http', '', str_repeat("GET $path HTTP/1.1\r\nHost: localhost\r\n\r\n", 200), 0];
        $ws = fn (string $piece, string $once = '', string $by = 'ws', int $write = 0): array =>
            [$by, $once, str_repeat($piece, max(1, intdiv(60_000, strlen($piece)))), $write];
        $h2 = fn (string $piece, string $once = ''): array => ['h2', $once, str_repeat($piece, max(1, intdiv(60_000, strlen($piece)))), 0];
        $connect = self::connect();
        return [
            'http: health checks in a pipeline' => $get('/healthz'),
            'http: metrics in a pipeline' => $get('/metrics'),
            'http: files in a pipeline' => $get('/index.html'),
            'http: requests to PHP in a pipeline' => $get('/hello'),
            'ws: messages of one byte' => $ws(self::frame(1, 'x')),
            'ws: publications of one byte' => $ws(self::frame(2, 'p'), self::frame(2, 's')),
            'ws: empty messages in fragments' => $ws(self::frame(1, '', false) . self::frame(0, '')),
            'ws: empty fragments' => $ws(self::frame(0, '', false), self::frame(1, '', false)),
            'ws: empty pings' => $ws(self::frame(9, '')),
            'ws: pings of 125 bytes' => $ws(self::frame(9, str_repeat('x', 125))),
            'ws: empty pongs' => $ws(self::frame(10, '')),
            'ws: 1 MiB in 1 KiB, compressed' => $ws(self::frame(2, self::deflated(str_repeat("\0", 1 << 20)), true, 4)),
            'ws: messages of one byte, compressed' => $ws(self::frame(1, self::deflated('x'), true, 4)),
            'wss: records of one byte' => $ws(self::frame(1, 'x'), '', 'wss', 1),
            'wss: messages of one byte' => $ws(self::frame(1, 'x'), '', 'wss'),
            'h2: pings' => $h2(self::h2(self::PING, 0, 0, 'flooding')),
            'h2: acknowledgements of pings' => $h2(self::h2(self::PING, 1, 0, 'flooding')),
            'h2: settings' => $h2(self::h2(self::SETTINGS, 0, 0, pack('nN', 4, 0)) . self::h2(self::SETTINGS, 0, 0, pack('nN', 4, 65535)), $connect),
            'h2: window updates' => $h2(self::h2(self::WINDOW_UPDATE, 0, 0, pack('N', 1))),
            'h2: priorities' => $h2(self::h2(self::PRIORITY, 0, 1, pack('NC', 3, 1))),
            'h2: unknown frames' => $h2(self::h2(0x55, 0, 0, 'anything')),
            'h2: empty data' => $h2(self::h2(self::DATA, 0, 1, ''), $connect),
            'h2: data of one byte' => $h2(self::h2(self::DATA, 0, 1, "\x81") . self::h2(self::DATA, 0, 1, "\x80")
                . str_repeat(self::h2(self::DATA, 0, 1, "\0"), 4), $connect),
            'h2: continuations' => $h2(self::h2(self::CONTINUATION, 0, 1, ''), self::h2(self::HEADERS, 0, 1, '')),
            'h2: requests taken back' => ['h2', '', fn (int $round): string => self::requests($round, true), 0],
            'h2: requests' => ['h2', '', fn (int $round): string => self::requests($round, false), 0],
            'ws: connections' => ['connect', '', '', 0],
        ];
    }

    /** A WebSocket frame of a client (RFC 6455 section 5.2) with an all-zero mask. */
    public static function frame(int $opcode, string $payload, bool $fin = true, int $rsv = 0): string
    {
        $length = strlen($payload);
        $length = $length < 126 ? chr(0x80 | $length) : chr(0xfe) . pack('n', $length);
        return chr(($fin ? 0x80 : 0) | $rsv << 4 | $opcode) . "$length\0\0\0\0$payload";
    }

    /** A compressed payload (RFC 7692 section 7.2.1). */
    private static function deflated(string $payload): string
    {
        $deflate = deflate_init(ZLIB_ENCODING_RAW);
        return substr(deflate_add($deflate, $payload, ZLIB_SYNC_FLUSH), 0, -4);
    }

    /** An HTTP/2 frame (RFC 9113 section 4.1). */
    public static function h2(int $type, int $flags, int $stream, string $payload): string
    {
        return substr(pack('N', strlen($payload)), 1) . chr($type) . chr($flags) . pack('N', $stream) . $payload;
    }

    /** A header block of literals without indexing (RFC 7541 section 6.2.2). */
    private static function headers(array $headers): string
    {
        $block = '';
        foreach ($headers as $name => $value) {
            $block .= "\0" . chr(strlen($name)) . $name . chr(strlen($value)) . $value;
        }
        return $block;
    }

    /** Opens a WebSocket on a stream (RFC 8441). */
    public static function connect(int $stream = 1): string
    {
        return self::h2(self::HEADERS, 4, $stream, self::headers([
            ':method' => 'CONNECT',
            ':protocol' => 'websocket',
            ':scheme' => 'https',
            ':path' => '/',
            ':authority' => 'localhost',
            'sec-websocket-version' => '13',
        ]));
    }

    /** A hundred requests, each on a stream of its own. */
    private static function requests(int $round, bool $reset): string
    {
        static $block;
        $block ??= self::headers([':method' => 'GET', ':scheme' => 'https', ':path' => '/healthz', ':authority' => 'localhost']);
        $frames = '';
        for ($i = 0; $i < 100; $i++) {
            $stream = 1 + 2 * (100 * $round + $i);
            $frames .= self::h2(self::HEADERS, 5, $stream, $block);
            $frames .= $reset ? self::h2(self::RST_STREAM, 0, $stream, pack('N', 8)) : '';
        }
        return $frames;
    }
}
