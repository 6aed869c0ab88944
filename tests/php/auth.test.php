<?php

declare(strict_types=1);

// Authentication during the handshake, with examples/auth.

require __DIR__ . '/lib/bootstrap.php';

$server = TestServer::script(__DIR__ . '/../../examples/auth/server.php', '127.0.0.1:0');

/** The response to a handshake. */
function handshake(TestServer $server, array $headers = [], string $target = '/'): object
{
    $client = $server->connect();
    $response = $client->raw($client->upgradeRequest($headers, $target))->response();
    $response->client = $client;
    return $response;
}

test('a handshake without credentials gets 401 with a challenge and an explanation', function () use ($server): void {
    $response = handshake($server);
    same(401, $response->status);
    same('Bearer', $response->headers['www-authenticate']);
    same("Log in first.\n", $response->body);
    $response->client->ended();
});

test('a session cookie admits and identifies its user', function () use ($server): void {
    $response = handshake($server, ['Cookie' => 'theme=dark; session=ada-session']);
    same(101, $response->status);
    same('welcome, ada', $response->client->message());
    same('ada: hello', $response->client->send('hello')->message());
});

test('a known but banned user gets 403', function () use ($server): void {
    same(403, handshake($server, ['Cookie' => 'session=mallory-session'])->status);
});

test('a timer decides on a token while the server serves other clients', function () use ($server): void {
    // On a busy machine the second client may take longer than the decision, so the test retries.
    for ($try = 1, $served = false; !$served; $try++) {
        check($try <= 10, 'the other client had to wait each time');
        $slow = $server->connect();
        $start = microtime(true);
        $slow->raw($slow->upgradeRequest(['Authorization' => 'Bearer bob-token']));
        same(101, handshake($server, ['Cookie' => 'session=ada-session'])->status, 'another client');
        $slow->take();
        $served = $slow->buffer === '';
        same(101, $slow->response()->status);
        check(microtime(true) - $start >= 0.19, 'the decision was immediate');
        same('welcome, bob', $slow->message());
    }
});

test('an unknown token is refused later', function () use ($server): void {
    $response = handshake($server, ['Authorization' => 'Bearer nonsense']);
    same(401, $response->status);
    same("This token is not known.\n", $response->body);
});

test('a client may disconnect before the decision', function () use ($server): void {
    for ($i = 0; $i < 5; $i++) {
        $client = $server->connect();
        $client->raw($client->upgradeRequest(['Authorization' => 'Bearer bob-token']))->drop();
    }
    usleep(300_000);
    same(101, handshake($server, ['Cookie' => 'session=ada-session'])->status);
});

test('a ticket admits one client', function () use ($server): void {
    $ticket = trim($server->connect()->raw("GET /ticket HTTP/1.1\r\nHost: localhost\r\n\r\n")->response()->body);
    check(strlen($ticket) === 32, "the ticket is $ticket");
    same('welcome, guest', handshake($server, [], "/?ticket=$ticket")->client->message());
    same(401, handshake($server, [], "/?ticket=$ticket")->status, 'status of the second use');
    same(401, handshake($server, [], '/?ticket[]=x')->status, 'status of a ticket that is not a string');
});

test('a foreign origin is refused before onUpgrade runs, even with a valid cookie', function () use ($server): void {
    $response = handshake($server, ['Cookie' => 'session=ada-session', 'Origin' => 'https://evil.example']);
    same(403, $response->status);
});

test('the example stops cleanly', function () use ($server): void {
    same(0, $server->stop(), 'exit status');
    check(!preg_match('/warning|fatal|exception/i', $server->child->output), $server->child->output);
});
