<?php

declare(strict_types=1);

// The memory of the process stays below the sum of its options, whatever clients send while PHP sleeps,
// and is released afterwards.

require __DIR__ . '/lib/bootstrap.php';
require __DIR__ . '/lib/Certificates.php';

/** The limit for data queued for PHP, in bytes. */
const TOTAL = 16 << 20;
/** Margin in KiB for incomplete messages, socket buffers, and the allocator. */
const MARGIN = 24 << 10;
/** How long PHP sleeps while the clients send, in seconds. */
const NAP = 4.0;

function rss(TestServer $server): int
{
    preg_match('/VmRSS:\s+(\d+)/', file_get_contents("/proc/{$server->child->pid}/status"), $match);
    return (int) $match[1];
}

/** Sends as much as the server accepts in 0.2 s. Returns false if the server has cut the connection. */
function push(Client $client, string $bytes): bool
{
    $end = microtime(true) + 0.2;
    while ($bytes !== '' && microtime(true) < $end) {
        $sent = @fwrite($client->stream, $bytes);
        if ($sent === false) {
            return false;
        }
        $bytes = substr($bytes, $sent);
        $sent > 0 || usleep(2000);
    }
    return true;
}

/** Connections that an attack keeps open until it ends. */
$kept = [];

/** @param callable(TestServer): void $attack One step, which is repeated and may fail. */
function drive(string $name, callable $attack, array $options = [], string $listen = 'ws://127.0.0.1:0', array $context = []): void
{
    test("$name do not grow the process beyond its limits", function () use ($attack, $options, $listen, $context): void {
        $settings = ['listen' => $listen, 'options' => $options + [
            'maxPendingTotal' => TOTAL, 'maxConnections' => 40, 'metricsPath' => '/metrics',
        ]];
        $server = TestServer::script(__DIR__ . '/servers/sleeping.php', json_encode($settings));
        $busy = $server->connect($context)->open();
        same('awake', $busy->send('sleep 0')->message(), 'answer');
        $before = rss($server);
        $busy->send('sleep ' . NAP);
        $peak = $steps = 0;
        $end = microtime(true) + NAP - 1.0;
        while (microtime(true) < $end) {
            try {
                $attack($server);
            } catch (ErrorException | RuntimeException) {
                // The server refused, ignored, or cut the connection.
            }
            $peak = max($peak, rss($server));
            $steps++;
        }
        $grown = $peak - $before;
        check($grown < (TOTAL >> 10) + MARGIN, "$grown KiB more after $steps steps");
        $GLOBALS['kept'] = [];
        same('awake', $busy->message(20.0), 'answer');
        $left = 0;
        try {
            until(function () use ($server, $before, &$left): bool {
                return ($left = rss($server) - $before) < 20 << 10;
            }, 'the memory is released', 40.0);
        } catch (RuntimeException) {
            throw new RuntimeException("$left KiB of $grown remain allocated");
        }
        // The server reads and admits clients again.
        until(function () use ($server, $context): bool {
            try {
                return $server->connect($context)->open()->send('sleep 0')->message() === 'awake';
            } catch (RuntimeException | ErrorException) {
                return false;
            }
        }, 'the server serves again', 20.0);
        same(0, $server->stop(), 'exit status');
    });
}

$message = str_repeat(Client::encode(Client::BINARY, str_repeat('x', 250_000)), 4);
drive('Messages on connections that end', function (TestServer $server) use ($message): void {
    $client = $server->open();
    push($client, $message . Client::encode(Client::CLOSE, "\x03\xe8"));
    $client->drop();
});

$head = ['X-Padding' => str_repeat('a', 14_000)];
drive('Connections that open and close with large heads', function (TestServer $server) use ($head): void {
    $client = $server->open($head);
    push($client, Client::encode(Client::CLOSE, "\x03\xe8"));
    $client->drop();
});

$post = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000\r\n\r\n" . str_repeat('x', 900_000);
drive('Bodies from disconnected clients', function (TestServer $server) use ($post): void {
    push($client = $server->connect(), $post);
    extension_loaded('sockets') ? $client->reset() : $client->drop();
});

$chunks = str_repeat("1\r\nx\r\n", 50_000);
drive('Bodies in one-byte chunks', function (TestServer $server) use (&$kept, $chunks): void {
    push($client = $server->connect(), "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    for ($i = 0; $i < 10; $i++) {
        push($client, $chunks);
    }
    $kept[] = $client;
});

$pongs = str_repeat(Client::encode(Client::PONG, ''), 20_000);
$flooder = null;
drive('Pongs', function (TestServer $server) use (&$flooder, $pongs): void {
    $flooder ??= $server->open();
    push($flooder, $pongs) || $flooder = null;
});
$flooder = null;

$certificates = new Certificates();
$tls = ['tls' => $certificates->issue('localhost')];
$trusting = ['ssl' => ['verify_peer' => false, 'verify_peer_name' => false]];
$frame = fn (int $type, int $flags, int $stream, string $payload): string =>
    substr(pack('N', strlen($payload)), 1) . pack('CCN', $type, $flags, $stream) . $payload;
/** @return resource An HTTP/2 connection that has sent its preface and $settings. */
$connect = function (TestServer $server, string $settings = '') use ($frame, $trusting, &$kept) {
    if (count($kept) >= 150) {
        // A connection that has opened 128 streams keeps about 130 KiB; maxHandshakes bounds such connections.
        usleep(20_000);
        throw new RuntimeException('enough');
    }
    $context = stream_context_create(['ssl' => ['alpn_protocols' => 'h2'] + $trusting['ssl']]);
    $stream = stream_socket_client(str_replace('wss://', 'tls://', $server->address), $code, $error, 5.0, STREAM_CLIENT_CONNECT, $context);
    stream_set_timeout($stream, 1);
    fwrite($stream, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" . $frame(4, 0, 0, $settings));
    return $stream;
};
// HPACK: :method POST, :scheme https, :path / from the static table, and a literal :authority (RFC 7541).
$head = "\x83\x87\x84\x01\x09localhost";
foreach (['one byte' => [str_repeat($frame(0, 0, 0, 'x'), 30_000), 10], '16 KiB' => [str_repeat($frame(0, 0, 0, str_repeat('x', 16384)), 4), 120]] as $size => [$data, $streams]) {
    drive("Bodies over HTTP/2 in frames of $size", function (TestServer $server) use ($connect, $frame, $head, $data, $streams, &$kept): void {
        $kept[] = $stream = $connect($server);
        for ($id = 1; $id < 2 * $streams; $id += 2) {
            // Puts the stream id into the last four bytes of each frame header.
            fwrite($stream, $frame(1, 4, $id, $head) . str_replace("\0\0\0\0\0\0x", "\0\0" . pack('N', $id) . 'x', $data));
        }
    }, $tls, 'wss://127.0.0.1:0', $trusting);
}

// A header of 3.6 kB. Each request refers to it up to four times, with one byte per reference.
$long = "\x40\x01a\x7f\x91\x1b" . str_repeat('v', 3600);
drive('HTTP/2 requests whose bodies never arrive', function (TestServer $server) use ($connect, $frame, $head, $long, &$kept): void {
    $kept[] = $stream = $connect($server);
    $requests = $frame(1, 4, 1, "$head$long\xbe\xbe\xbe");
    for ($id = 3; $id < 256; $id += 2) {
        $requests .= $frame(1, 4, $id, "$head\xbe\xbe\xbe\xbe");
    }
    fwrite($stream, $requests);
}, $tls, 'wss://127.0.0.1:0', $trusting);

drive('HTTP/2 responses without a flow-control window', function (TestServer $server) use ($connect, $frame, &$kept): void {
    // SETTINGS_INITIAL_WINDOW_SIZE is 0.
    $kept[] = $stream = $connect($server, pack('nN', 4, 0));
    $requests = '';
    for ($id = 1; $id < 256; $id += 2) {
        $requests .= $frame(1, 5, $id, "\x82\x87\x04\x08/metrics\x01\x09localhost");
    }
    fwrite($stream, $requests);
}, $tls, 'wss://127.0.0.1:0', $trusting);
