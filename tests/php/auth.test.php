<?php

declare(strict_types=1);

// Authentication at the handshake, with examples/auth.

require __DIR__ . '/lib/bootstrap.php';

$server = TestServer::script(__DIR__ . '/../../examples/auth/server.php', '127.0.0.1:0');

/** The answer to a handshake. */
function handshake(TestServer $server, array $headers = [], string $target = '/'): object
{
    $client = $server->connect();
    $response = $client->raw($client->upgradeRequest($headers, $target))->response();
    $response->client = $client;
    return $response;
}

test('without credentials: 401 with a challenge and a sentence', function () use ($server): void {
    $response = handshake($server);
    same(401, $response->status);
    same('Bearer', $response->headers['www-authenticate']);
    same("Log in first.\n", $response->body);
    $response->client->ended();
});

test('a session cookie lets in, and says who it is', function () use ($server): void {
    $response = handshake($server, ['Cookie' => 'theme=dark; session=ada-session']);
    same(101, $response->status);
    same('welcome, ada', $response->client->message());
    same('ada: hello', $response->client->send('hello')->message());
});

test('who is known but banned gets 403', function () use ($server): void {
    same(403, handshake($server, ['Cookie' => 'session=mallory-session'])->status);
});

test('a token is decided about later, from a timer, while others are served', function () use ($server): void {
    // A machine that is busy may take longer than the decision about the slow one: then, again.
    for ($try = 1, $served = false; !$served; $try++) {
        check($try <= 10, 'the other one had to wait, each time');
        $slow = $server->connect();
        $start = microtime(true);
        $slow->raw($slow->upgradeRequest(['Authorization' => 'Bearer bob-token']));
        same(101, handshake($server, ['Cookie' => 'session=ada-session'])->status, 'another one');
        $slow->take();
        $served = $slow->buffer === '';
        same(101, $slow->response()->status);
        check(microtime(true) - $start >= 0.19, 'it was decided at once');
        same('welcome, bob', $slow->message());
    }
});

test('a token that is not known is refused later', function () use ($server): void {
    $response = handshake($server, ['Authorization' => 'Bearer nonsense']);
    same(401, $response->status);
    same("This token is not known.\n", $response->body);
});

test('a client that goes away before the decision does no harm', function () use ($server): void {
    for ($i = 0; $i < 5; $i++) {
        $client = $server->connect();
        $client->raw($client->upgradeRequest(['Authorization' => 'Bearer bob-token']))->drop();
    }
    usleep(300_000);
    same(101, handshake($server, ['Cookie' => 'session=ada-session'])->status);
});

test('a ticket lets in once', function () use ($server): void {
    $ticket = trim($server->connect()->raw("GET /ticket HTTP/1.1\r\nHost: localhost\r\n\r\n")->response()->body);
    check(strlen($ticket) === 32, "the ticket is $ticket");
    same('welcome, guest', handshake($server, [], "/?ticket=$ticket")->client->message());
    same(401, handshake($server, [], "/?ticket=$ticket")->status, 'status of the second use');
    same(401, handshake($server, [], '/?ticket[]=x')->status, 'status of a ticket that is no string');
});

test('a foreign origin is refused before PHP is asked, also with a valid cookie', function () use ($server): void {
    $response = handshake($server, ['Cookie' => 'session=ada-session', 'Origin' => 'https://evil.example']);
    same(403, $response->status);
});

test('the example stops cleanly', function () use ($server): void {
    same(0, $server->stop(), 'exit status');
    check(!preg_match('/warning|fatal|exception/i', $server->child->output), $server->child->output);
});
