<?php
/**
 * Authentication during the handshake, before the WebSocket opens.
 *
 *     php -d extension=sprocket examples/auth/server.php [host:port]
 *
 * Three ways in, and what happens without one:
 *
 *     websocat -H 'Cookie: session=ada-session' ws://127.0.0.1:8080/         welcome, ada
 *     websocat -H 'Authorization: Bearer bob-token' ws://127.0.0.1:8080/     welcome, bob (after a look-up)
 *     websocat 'ws://127.0.0.1:8080/?ticket=…'      a ticket of GET /ticket, good once and for 30 s
 *     websocat ws://127.0.0.1:8080/                                          401
 *     websocat -H 'Cookie: session=mallory-session' ws://127.0.0.1:8080/     403
 *
 * A browser's WebSocket sends cookies but can't set headers; where cookies don't reach (another
 * domain, an app), a short-lived ticket in the query is the usual way.
 */

declare(strict_types=1);

use Sprocket\{Connection, Handshake, Request, Response, Server};

// In an application these are rows of a database.
const SESSIONS = ['ada-session' => 'ada', 'mallory-session' => 'mallory'];
const TOKENS = ['bob-token' => 'bob'];
const BANNED = ['mallory'];

$server = new Server('ws://' . ($argv[1] ?? '127.0.0.1:8080'));
$tickets = [];

$server->onUpgrade(function (Handshake $handshake) use ($server, &$tickets): void {
    $request = $handshake->request;

    // 1. The session cookie of the website.
    $user = SESSIONS[$request->cookies()['session'] ?? ''] ?? null;
    if ($user !== null) {
        in_array($user, BANNED, true)
            ? $handshake->reject(403, "This account is closed.\n")
            : $handshake->accept(data: $user);
        return;
    }

    // 2. A ticket, good for one connection.
    $ticket = $request->query()['ticket'] ?? '';
    if (is_string($ticket) && isset($tickets[$ticket])) {
        $user = $tickets[$ticket];
        unset($tickets[$ticket]);
        $handshake->accept(data: $user);
        return;
    }

    // 3. A token that somebody else must check. The answer may come later, from a timer or from
    //    the callback of an asynchronous client: the server goes on meanwhile.
    if (preg_match('/^Bearer (\S+)$/i', $request->header('Authorization') ?? '', $match)) {
        $server->after(0.2, function () use ($handshake, $match): void {
            $user = TOKENS[$match[1]] ?? null;
            $user === null
                ? $handshake->reject(401, "This token is not known.\n")
                : $handshake->accept(data: $user);
        });
        return;
    }

    $handshake->reject(401, "Log in first.\n", ['WWW-Authenticate' => 'Bearer']);
});

// In an application the website hands out the ticket, to somebody it knows.
$server->onRequest(function (Request $request) use ($server, &$tickets): Response {
    if ($request->path() !== '/ticket') {
        return new Response(404, "There is nothing at this address.\n");
    }
    $ticket = bin2hex(random_bytes(16));
    $tickets[$ticket] = 'guest';
    $server->after(30.0, function () use (&$tickets, $ticket): void {
        unset($tickets[$ticket]);
    });
    return new Response(200, "$ticket\n");
});

$server->onOpen(function (Connection $connection): void {
    $connection->send("welcome, $connection->data");
});
$server->onMessage(function (Connection $connection, string $payload): void {
    $connection->send("$connection->data: $payload");
});

$server->start();
echo "Listening on {$server->addresses()[0]}, Ctrl-C stops it.\n";
$server->run();
