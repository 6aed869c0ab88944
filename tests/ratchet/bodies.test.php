<?php

/**
 * Bodies of plain requests are refused where no component takes them, and bounded where one does.
 */

require __DIR__ . '/support/harness.php';

needs('bodies', ['symfony-routing' => 'Symfony/Component/Routing']);
if (original()) {
    skip('bodies', 'Ratchet has no limit for them');
    finish();
}

const CLIENTS = 100;
const UNLIMITED = ['memory_limit' => '-1', 'log_errors' => '1', 'error_log' => ''];

function post(string $path, int $length, string $body = ''): string
{
    return "POST $path HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: $length\r\n\r\n$body";
}

/** A request that posts an event to the API. */
function event(int $bytes): string
{
    return json_encode(['name' => 'event', 'data' => str_repeat('x', $bytes)]);
}

function statusOf(int $port, string $request): int
{
    $client = new Client($port);
    $client->write($request);

    return (int) substr($client->head(), 9, 3);
}

/** Waits for a line of the error log. */
function notice(ServerProcess $server, string $text): void
{
    for ($end = microtime(true) + DEADLINE; $server->isRunning() && microtime(true) < $end;) {
        if (str_contains($server->stderr, $text)) {
            return;
        }
        $server->count('body', 0.02);
    }
    throw new Failed("no '$text' in: $server->stderr");
}

/** Opens all clients and writes to each as much of the text as its socket accepts. Returns the sockets. */
function pour(int $port, string $head, string $body): array
{
    $sockets = $left = [];
    for ($i = 0; $i < CLIENTS; $i++) {
        $sockets[$i] = stream_socket_client("tcp://127.0.0.1:$port");
        stream_set_blocking($sockets[$i], false);
        $left[$i] = $head . $body;
    }
    for ($end = microtime(true) + 20; $left !== [] && microtime(true) < $end;) {
        [$read, $write, $except] = [array_intersect_key($sockets, $left), array_intersect_key($sockets, $left), null];
        stream_select($read, $write, $except, 1);
        foreach (array_keys($left) as $i) {
            if (in_array($sockets[$i], $read, true)) {
                // The server has answered already.
                unset($left[$i]);
            } elseif (in_array($sockets[$i], $write, true)) {
                $left[$i] = substr($left[$i], (int) @fwrite($sockets[$i], $left[$i], 1 << 16));
                if ($left[$i] === '') {
                    unset($left[$i]);
                }
            }
        }
    }
    same([], array_keys($left), 'clients that the server keeps waiting');

    return $sockets;
}

/** The status of an answer, read to the end of its first line. */
function answered($socket): string
{
    stream_set_blocking($socket, true);
    stream_set_timeout($socket, 20);

    return substr((string) fgets($socket), 9, 3);
}

foreach (['chat' => '/', 'wrapped' => '/', 'routes' => '/chat'] as $kind => $path) {
    check("$kind: no component takes bodies, and they are refused by their header", function () use ($kind, $path) {
        $server = new ServerProcess('bodies', [$kind], UNLIMITED);
        same(413, statusOf($server->port, post($path, 10)));
        same(413, statusOf($server->port, post($path, 100 << 20, 'begins')));
        same(413, statusOf($server->port, "POST $path HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin"));
        same($kind === 'wrapped' ? 403 : 405, statusOf($server->port, post($path, 0)));
        $client = Client::open($server->port, $path, ['Origin' => 'http://localhost']);
        $client->text('hi');
        same('hi', $client->nextText());
        notice($server, 'no component of this application accepts bodies');
        same(1, substr_count($server->stderr, 'refused with 413'), $server->stderr);
    });
}

foreach (['content-length' => 'Content-Length: 104857600', 'chunked' => 'Transfer-Encoding: chunked'] as $name => $header) {
    check("100 clients that begin a POST of 100 MiB take less than 16 MiB of a chat ($name)", function () use ($header) {
        $server = new ServerProcess('bodies', ['chat'], UNLIMITED);
        $client = Client::open($server->port);
        $client->text('before');
        same('before', $client->nextText());
        $before = $server->peak();
        $head = "POST / HTTP/1.1\r\nHost: localhost\r\n$header\r\n\r\n";
        $sockets = pour($server->port, $head, "6400000\r\n" . str_repeat('x', 1 << 20));
        same(array_fill(0, CLIENTS, '413'), array_map(answered(...), $sockets));
        $client->text('after');
        same('after', $client->nextText());
        $grown = $server->peak() - $before;
        that($grown < 16 << 20, "it took $grown bytes");
    });
}

foreach (['api', 'named-api'] as $kind) {
    check("$kind: a component takes bodies of 1 MiB", function () use ($kind) {
        $server = new ServerProcess('bodies', [$kind], UNLIMITED);
        $client = new Client($server->port);
        $event = event(1_000_000);
        $client->write(post('/api', strlen($event)));
        foreach (str_split($event, 100_000) as $piece) {
            $client->write($piece);
        }
        [$status, , $body] = $client->response();
        same([200, '1000000'], [$status, $body]);
        same(413, statusOf($server->port, post('/api', (1 << 20) + 1, '{')));
        notice($server, 'larger than 1048576 bytes');
    });
}

check('a body with a transfer coding other than chunked is refused before the component', function () {
    $server = new ServerProcess('bodies', ['greeter'], UNLIMITED);
    $head = "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: ";
    same(501, statusOf($server->port, "{$head}gzip, chunked\r\n\r\n5\r\ncoded\r\n0\r\n\r\n"));
    same(405, statusOf($server->port, "{$head}chunked\r\n\r\n5\r\nplain\r\n0\r\n\r\n"));
    same(['body', 'plain'], $server->wait('body'));
});

check('Settings::set() admits larger bodies', function () {
    $server = new ServerProcess('bodies', ['api', (string) (4 << 20)], UNLIMITED);
    $event = event(3_000_000);
    $client = new Client($server->port);
    $client->write(post('/api', strlen($event), $event));
    [$status, , $body] = $client->response();
    same([200, '3000000'], [$status, $body]);
    same(413, statusOf($server->port, post('/api', (4 << 20) + 1, '{')));
});

check('a subclass of WsServer that gets requests may take bodies', function () {
    $server = new ServerProcess('bodies', ['greeter'], UNLIMITED);
    same(405, statusOf($server->port, post('/', 5, 'hello')));
    same(['body', 'hello'], $server->wait('body'));
    same(413, statusOf($server->port, post('/', (1 << 20) + 1, '{')));
});

check('unfinished bodies are bounded in sum, and WebSockets still open', function () {
    $server = new ServerProcess('bodies', ['api'], UNLIMITED);
    $before = $server->peak();
    $sockets = pour($server->port, post('/api', 1 << 20), str_repeat('x', (1 << 20) - 1));
    $client = Client::open($server->port, '/chat', ['Origin' => 'http://localhost']);
    $client->text('hi');
    same('hi', $client->nextText());
    $grown = $server->peak() - $before;
    that($grown < 64 << 20, "it took $grown bytes");
    array_map(fclose(...), $sockets);
});

finish();
