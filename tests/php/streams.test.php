<?php

declare(strict_types=1);

// Streamed responses of a separate server process, to many clients, and of large bodies in little memory.

require __DIR__ . '/lib/bootstrap.php';

const FOLLOWERS = 1000, EVENTS = 20;

/** Sends a request for $path. */
function ask(TestServer $server, string $path): Client
{
    return $server->connect()->raw("GET $path HTTP/1.1\r\nHost: localhost\r\n\r\n");
}

/** Reads until the text has arrived. */
function text_of(Client $client, string $text, float $timeout = 60.0): string
{
    $client->wait(fn (): bool => str_contains($client->buffer, $text) || $client->eof, $text, $timeout);
    check(str_contains($client->buffer, $text), 'the connection ended before ' . trim($text));
    return $client->buffer;
}

function answer_of(TestServer $server, string $path): array
{
    return json_decode(ask($server, $path)->response()->body, true, flags: JSON_THROW_ON_ERROR);
}

$hard = trim(shell_exec('ulimit -H -n'));
if ($hard !== 'unlimited' && $hard < 2 * FOLLOWERS) {
    skip(FOLLOWERS . ' followers of server-sent events', "the hard limit of descriptors is $hard");
} else {
    test(FOLLOWERS . ' followers of server-sent events each get every event', function (): void {
        $server = TestServer::script(__DIR__ . '/../../examples/sse/server.php', '127.0.0.1:0');
        $clients = [];
        for ($i = 0; $i < FOLLOWERS; $i++) {
            $clients[] = ask($server, '/events');
        }
        foreach ($clients as $client) {
            text_of($client, "retry: 1000\n\n");
        }
        $expected = '';
        for ($n = 1; $n <= EVENTS; $n++) {
            $body = "event $n of " . EVENTS;
            $expected .= "id: $n\ndata: $body\n\n";
            $client = $server->connect()
                ->raw("POST /say HTTP/1.1\r\nHost: localhost\r\nContent-Length: " . strlen($body) . "\r\n\r\n$body");
            same(204, $client->response(60.0)->status, 'status');
            $client->drop();
        }
        foreach ($clients as $client) {
            $got = strstr(text_of($client, 'event ' . EVENTS . ' of ' . EVENTS . "\n\n"), "id: 1\n");
            // Removes the chunk sizes.
            same($expected, preg_replace('~\r\n(?:[0-9a-f]+\r\n)?~i', '', $got), 'events');
        }
        // Half of the followers leave, and the others stay.
        foreach (array_splice($clients, 0, FOLLOWERS / 2) as $client) {
            $client->drop();
        }
        $server->connect()->raw("POST /say HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nlast")->response(60.0);
        foreach ($clients as $client) {
            text_of($client, "data: last\n\n");
        }
        $server->child->signal(SIGTERM);
        foreach ($clients as $client) {
            text_of($client, "\r\n0\r\n\r\n");
        }
        same(0, $server->child->wait(), 'exit status');
    });
}

test('200 MB reach a fast reader through little memory, while another client reads slowly', function (): void {
    $size = 200_000_000;
    $server = TestServer::command(
        ['@php@', '-d', 'memory_limit=16M', __DIR__ . '/servers/streams.php', '{"options":{"handshakeTimeout":120}}'],
    );
    $before = answer_of($server, '/stats');
    $slow = ask($server, "/bytes?n=$size");
    text_of($slow, "\r\n\r\n");
    $fast = ask($server, "/bytes?n=$size");
    $received = 0;
    $fast->wait(function () use ($fast, &$received): bool {
        $received += strlen($fast->buffer);
        $end = str_ends_with($fast->buffer, "\r\n0\r\n\r\n");
        $fast->buffer = $end ? '' : substr($fast->buffer, -7);
        $received -= strlen($fast->buffer);
        return $end || $fast->eof;
    }, 'the end', 120.0);
    check($received > $size && $received < $size * 1.01, "$received bytes arrived");
    $stats = answer_of($server, '/stats');
    check($stats['memory'] < $before['memory'] + 4_000_000, "PHP takes $stats[memory] bytes");
    check($stats['resident'] < $before['resident'] + 32_000_000, "the process uses $stats[resident] bytes, after $before[resident] before");
    same([true], answer_of($server, '/closes')['/bytes'], 'onClose');
    $slow->drop();
    until(fn (): bool => answer_of($server, '/closes')['/bytes'] === [true, false], 'the slow reader has left');
    $server->child->signal(SIGTERM);
    same(0, $server->child->wait(), 'exit status');
});
