<?php

declare(strict_types=1);

// Whatever clients send while PHP sleeps, the process stays below what its options add up to, and the
// memory goes back afterwards.

require __DIR__ . '/lib/bootstrap.php';
require __DIR__ . '/lib/Certificates.php';

/** What may wait for PHP. */
const TOTAL = 16 << 20;
/** KiB for all else: pieces of messages, buffers of sockets and of the allocator. */
const MARGIN = 24 << 10;
/** Seconds that PHP sleeps and the clients send. */
const NAP = 4.0;

function rss(TestServer $server): int
{
    preg_match('/VmRSS:\s+(\d+)/', file_get_contents("/proc/{$server->child->pid}/status"), $match);
    return (int) $match[1];
}

/** Sends what the server takes within a fifth of a second. False: it has cut the connection. */
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

/** The connections that an attack keeps open until its end. */
$kept = [];

/** @param callable(TestServer): void $attack One step of it, repeated; it may fail. */
function drive(string $name, callable $attack, array $options = [], string $listen = 'ws://127.0.0.1:0', array $context = []): void
{
    test("$name do not grow the process", function () use ($attack, $options, $listen, $context): void {
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
                // Refused, not read, or cut.
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
            }, 'the memory goes back', 40.0);
        } catch (RuntimeException) {
            throw new RuntimeException("$left KiB stay, of $grown");
        }
        // Nothing is refused or stopped any more.
        until(function () use ($server, $context): bool {
            try {
                return $server->connect($context)->open()->send('sleep 0')->message() === 'awake';
            } catch (RuntimeException | ErrorException) {
                return false;
            }
        }, 'it serves again', 20.0);
        same(0, $server->stop(), 'exit status');
    });
}

$message = str_repeat(Client::encode(Client::BINARY, str_repeat('x', 250_000)), 4);
drive('Messages of connections that end', function (TestServer $server) use ($message): void {
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
drive('Bodies whose clients are gone', function (TestServer $server) use ($post): void {
    push($client = $server->connect(), $post);
    extension_loaded('sockets') ? $client->reset() : $client->drop();
});

$chunks = str_repeat("1\r\nx\r\n", 50_000);
drive('Bodies in chunks of one byte', function (TestServer $server) use (&$kept, $chunks): void {
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
/** @return resource A connection that has sent its preface, and these settings. */
$connect = function (TestServer $server, string $settings = '') use ($frame, $trusting, &$kept) {
    if (count($kept) >= 150) {
        // A connection that has had 128 streams keeps some 130 KiB. The option maxHandshakes bounds their number.
        usleep(20_000);
        throw new RuntimeException('enough');
    }
    $context = stream_context_create(['ssl' => ['alpn_protocols' => 'h2'] + $trusting['ssl']]);
    $stream = stream_socket_client(str_replace('wss://', 'tls://', $server->address), $code, $error, 5.0, STREAM_CLIENT_CONNECT, $context);
    stream_set_timeout($stream, 1);
    fwrite($stream, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" . $frame(4, 0, 0, $settings));
    return $stream;
};
// :method POST, :scheme https, :path /, and :authority, by the static table (RFC 7541).
$head = "\x83\x87\x84\x01\x09localhost";
foreach (['one byte' => [str_repeat($frame(0, 0, 0, 'x'), 30_000), 10], '16 KiB' => [str_repeat($frame(0, 0, 0, str_repeat('x', 16384)), 4), 120]] as $size => [$data, $streams]) {
    drive("Bodies over HTTP/2 in frames of $size", function (TestServer $server) use ($connect, $frame, $head, $data, $streams, &$kept): void {
        $kept[] = $stream = $connect($server);
        for ($id = 1; $id < 2 * $streams; $id += 2) {
            // The stream of each frame is in the four bytes before its payload.
            fwrite($stream, $frame(1, 4, $id, $head) . str_replace("\0\0\0\0\0\0x", "\0\0" . pack('N', $id) . 'x', $data));
        }
    }, $tls, 'wss://127.0.0.1:0', $trusting);
}

// A header of 3.6 kB, which each request names four times with a byte each.
$long = "\x40\x01a\x7f\x91\x1b" . str_repeat('v', 3600);
drive('Requests over HTTP/2 whose bodies never come', function (TestServer $server) use ($connect, $frame, $head, $long, &$kept): void {
    $kept[] = $stream = $connect($server);
    $requests = $frame(1, 4, 1, "$head$long\xbe\xbe\xbe");
    for ($id = 3; $id < 256; $id += 2) {
        $requests .= $frame(1, 4, $id, "$head\xbe\xbe\xbe\xbe");
    }
    fwrite($stream, $requests);
}, $tls, 'wss://127.0.0.1:0', $trusting);

drive('Responses over HTTP/2 that have no window', function (TestServer $server) use ($connect, $frame, &$kept): void {
    // SETTINGS_INITIAL_WINDOW_SIZE 0.
    $kept[] = $stream = $connect($server, pack('nN', 4, 0));
    $requests = '';
    for ($id = 1; $id < 256; $id += 2) {
        $requests .= $frame(1, 5, $id, "\x82\x87\x04\x08/metrics\x01\x09localhost");
    }
    fwrite($stream, $requests);
}, $tls, 'wss://127.0.0.1:0', $trusting);
