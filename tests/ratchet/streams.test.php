<?php

/**
 * Components that answer a plain request in pieces.
 */

require __DIR__ . '/support/harness.php';

needs('streams');

const LARGE = 200_000_000;

/** Sends a request for a path. */
function ask(ServerProcess $server, string $path): mixed
{
    $socket = stream_socket_client("tcp://127.0.0.1:$server->port");
    stream_set_timeout($socket, 60);
    fwrite($socket, "GET $path HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");

    return $socket;
}

/** The head of the response. */
function headOf($socket): string
{
    for ($head = ''; !str_ends_with($head, "\r\n\r\n") && ($line = fgets($socket)) !== false;) {
        $head .= $line;
    }
    that(str_starts_with($head, 'HTTP/1.1 200 '), $head);

    return $head;
}

/** The next chunk of the body; '' for the last one, null if the connection ends before it. */
function chunkOf($socket): ?string
{
    $line = fgets($socket);
    if ($line === false) {
        return null;
    }
    $size = hexdec(trim($line));
    for ($chunk = ''; strlen($chunk) < $size + 2; $chunk .= $more) {
        $more = fread($socket, $size + 2 - strlen($chunk));
        if ($more === '' || $more === false) {
            return null;
        }
    }

    return substr($chunk, 0, $size);
}

/** Bytes of the body, and whether it is complete. */
function lengthOf($socket): array
{
    for ($length = 0; ($chunk = chunkOf($socket)) !== '' && $chunk !== null; $length += strlen($chunk));

    return [$length, $chunk === ''];
}

check('200 MB in pieces within memory_limit=64M, to a fast reader while a slow one holds back', function () {
    $server = new ServerProcess('streams', ini: ['memory_limit' => '64M']);
    $slow = ask($server, '/large?n=' . LARGE);
    headOf($slow);
    same(1 << 16, strlen(chunkOf($slow)), 'first chunk');
    $fast = ask($server, '/large?n=' . LARGE);
    headOf($fast);
    same([LARGE, true], lengthOf($fast));
    $closed = $server->wait('close', 60);
    same('/large', $closed[1]);
    that($closed[2] < 16 << 20, "PHP took $closed[2] bytes");
    same([LARGE - (1 << 16), true], lengthOf($slow), 'the slow one gets it all, too');
    same('/large', $server->wait('close', 60)[1]);
});

check('close() behind many pieces delivers all of them', function () {
    $server = new ServerProcess('streams');
    $socket = ask($server, '/burst?n=8000000');
    headOf($socket);
    same([8_000_000, true], lengthOf($socket));
    same('/burst', $server->wait('close')[1]);
});

check('a short answer in one go has its length', function () {
    $server = new ServerProcess('streams');
    $socket = ask($server, '/burst?n=10');
    $head = headOf($socket);
    that(stripos($head, 'content-length: 10') !== false, $head);
    same('xxxxxxxxxx', stream_get_contents($socket));
});

check('chunks and lengths of the component give way to those of the server', function () {
    $server = new ServerProcess('streams');
    foreach (['/chunked' => 'abcdefg', '/length' => 'abcdef'] as $path => $body) {
        $socket = ask($server, $path);
        $head = headOf($socket);
        same(1, preg_match_all('~\r\n(?:content-length|transfer-encoding):~i', $head), $head);
        for ($got = ''; ($chunk = chunkOf($socket)) !== '' && $chunk !== null; $got .= $chunk);
        same([$body, ''], [$got, $chunk]);
        same($path, $server->wait('close')[1]);
    }
});

check('server-sent events arrive as they are sent, and onClose runs when the client leaves', function () {
    $server = new ServerProcess('streams');
    $socket = ask($server, '/events');
    headOf($socket);
    for ($got = ''; $got !== "data: 1\n\ndata: 2\n\n"; $got .= $chunk) {
        $chunk = chunkOf($socket);
        that((string) $chunk !== '', "only $got");
    }
    same(0, $server->count('close'));
    fclose($socket);
    same('/events', $server->wait('close')[1]);
});

check('1,000 clients of server-sent events', function () {
    $server = new ServerProcess('streams');
    $before = $server->peak();
    $sockets = [];
    for ($i = 0; $i < 1000; $i++) {
        $sockets[] = ask($server, '/events');
    }
    foreach ($sockets as $socket) {
        headOf($socket);
        for ($got = ''; $got !== "data: 1\n\ndata: 2\n\n"; $got .= $chunk) {
            $chunk = chunkOf($socket);
            that((string) $chunk !== '', "only $got");
        }
    }
    $grown = $server->peak() - $before;
    that($grown < 64 << 20, "they took $grown bytes");
    $sockets = $socket = null;
    for ($i = 0; $i < 1000; $i++) {
        same('/events', $server->wait('close')[1]);
    }
});

check('a client that reads too slowly is cut, and the log says so', function () {
    $server = new ServerProcess('streams', ini: ['memory_limit' => '64M', 'error_log' => '', 'log_errors' => '1']);
    $socket = ask($server, '/flood');
    headOf($socket);
    $closed = $server->wait('close', 30);
    same('/flood', $closed[1]);
    that($closed[2] < 16 << 20, "PHP took $closed[2] bytes");
    $server->isRunning();
    that(str_contains($server->stderr, 'read its response too slowly'), $server->stderr);
    same(false, lengthOf($socket)[1], 'complete');
});

finish();
