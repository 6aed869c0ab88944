<?php

/**
 * Stacks with classes that handle connections, handshakes or frames themselves. React serves them, with
 * that code and a line in the log, or the native server supports what they do.
 */

require __DIR__ . '/support/harness.php';

needs('departures', ['symfony-routing' => 'Symfony/Component/Routing']);

function serve(string $kind): ServerProcess
{
    return new ServerProcess('departures', [$kind], ['log_errors' => '1', 'error_log' => '']);
}

/** Waits for a line on standard error, or checks that there is none about a stack left to React. */
function logged(ServerProcess $server, ?string $line): void
{
    if (original()) {
        return;
    }
    $end = microtime(true) + DEADLINE;
    while ($server->isRunning() && $line !== null && !str_contains($server->stderr, $line) && microtime(true) < $end) {
        $server->count('', 0.05);
    }
    same($line !== null, str_contains($server->stderr, $line ?? 'left to React'), "standard error: $server->stderr");
}

function echoes(Client $client, string $text = 'hi'): void
{
    $client->text($text);
    same("echo $text", $client->nextText());
}

foreach (['bounded' => '/', 'route' => '/limited', 'helped' => '/', 'feeding' => '/'] as $kind => $path) {
    check("a WsServer with a MessageBuffer of 8 KiB holds its limit ($kind)", function () use ($kind, $path) {
        $server = serve($kind);
        $client = Client::open($server->port, $path);
        echoes($client, str_repeat('a', 8000));
        $client->text(str_repeat('b', 9000));
        [$opcode, $payload] = $client->next();
        same([8, 1009], [$opcode, unpack('n', $payload)[1]]);
        $server->wait('close');
        logged($server, $kind === 'feeding' ? 'A stack is left to React: Feeding uses MessageBuffer' : null);
    });
}

foreach (['expecting' => 'a subclass of WsServer', 'around' => 'a component around WsServer'] as $kind => $name) {
    check("the application has opened the connection before onOpen() of $name goes on", function () use ($kind) {
        $server = serve($kind);
        $client = Client::open($server->port);
        same(['opened', 'expected'], [$client->nextText(), $client->nextText()]);
        $server->wait('open');
        echoes($client);
        $client->close();
        $server->wait('close');
        logged($server, null);
    });
}

check('a connection that is closed before its 101 is sent', function () {
    $server = serve('refusing');
    $client = Client::open($server->port);
    same(['opened', 'expected'], [$client->nextText(), $client->nextText()]);
    same([8, pack('n', 4001), true], $client->next());
    $server->wait('close');
    same(0, $server->count('close'));
    logged($server, null);
});

check('a client that leaves before its 101: onClose, once', function () {
    $server = serve('slow');
    $client = new Client($server->port);
    $client->write(Client::request());
    $server->wait('open');
    $client->reset();
    same(original() ? null : 1006, $server->wait('code')[1]);
    $server->wait('close');
    same(0, $server->count('close'));
});

check('getSubProtocols() is asked for each handshake', function () {
    $server = serve('rotating');
    foreach (original() ? ['v1', 'v1'] : ['v1', 'v2', 'v3'] as $agreed) {
        $client = new Client($server->port);
        $client->write(Client::request('/', ['Sec-WebSocket-Protocol' => 'v1, v2, v3']));
        $head = $client->head();
        that(preg_match("~\r\nSec-WebSocket-Protocol: $agreed\r?$~mi", $head) === 1, $head);
    }
    logged($server, null);
});

check('a WsServer with a handshake of its own opens connections, and pings them', function () {
    $server = serve('complete');
    $client = Client::open($server->port);
    $server->wait('open');
    echoes($client);
    same(9, $client->next()[0]);
    $client->close();
    $server->wait('close');
    logged($server, 'A stack is left to React: Complete uses MessageBuffer');
});

check('a WsServer that uses its connections in onOpen()', function () {
    $server = serve('greeting');
    $client = Client::open($server->port);
    same('welcome', $client->nextText());
    echoes($client);
    logged($server, null);
});

check('a component that writes its own 101', function () {
    $server = serve('switching');
    $client = Client::open($server->port);
    same('welcome', $client->nextText());
    echoes($client);
    logged($server, 'A stack is left to React: Switching answers handshakes itself');
});

check('a 101 that only shows when it is written is refused at once, with a line in the log', function () {
    if (original()) {
        return;
    }
    $server = serve('opaque');
    $client = new Client($server->port);
    $client->write(Client::request());
    same(500, $client->response()[0]);
    logged($server, 'A component wrote a 101 of its own');
});

check('an IoServer with handleConnect(), connections with typed properties, and methods listen() and loop()', function () {
    $server = serve('counting');
    $client = Client::open($server->port);
    same(['accepted', 'listen', 'loop'], $server->wait('accepted'));
    echoes($client);
    $client->close();
    $server->wait('close');
    logged($server, 'A stack is left to React: Counting overrides IoServer::handleConnect()');
});

foreach (['reaching' => 'Reaching', 'binding' => 'Binding'] as $kind => $class) {
    check("IoConnection::\$conn is there for a class that names it ($kind)", function () use ($kind, $class) {
        $server = serve($kind);
        $client = Client::open($server->port);
        $client->text('where');
        same('127.0.0.1', $client->nextText());
        logged($server, "A stack is left to React: $class uses IoConnection::\$conn");
    });
}

check('IoConnection::$conn of the native server says what to use instead', function () {
    if (original()) {
        return;
    }
    $server = serve('groping');
    $client = Client::open($server->port);
    $client->text('where');
    $message = $server->wait('error')[1];
    that(str_contains($message, 'no React connection with a member pause()'), $message);
    logged($server, null);
});

foreach (['token' => 'set by Reflection', 'negotiator' => 'agreed on by another negotiator'] as $kind => $name) {
    check("a subprotocol $name, per handshake", function () use ($kind) {
        $server = serve($kind);
        foreach ($kind === 'token' ? ['token.1', 'token.2'] : ['token.2'] as $token) {
            $client = new Client($server->port);
            $client->write(Client::request('/', ['Sec-WebSocket-Protocol' => "other, $token"]));
            $head = $client->head();
            that(str_contains($head, ' 101 ') && preg_match("~\r\nsec-websocket-protocol: $token\r\n~i", $head) === 1, $head);
            that($kind === 'token' || preg_match("~\r\nx-greeting: hello\b~i", $head) === 1, $head);
            echoes($client);
        }
        logged($server, null);
    });
}

foreach (
    [
        'throttled' => 'A socket is left to React: Throttled is not one of React\'s servers',
        'watched' => 'A stack is left to React: a listener on \'connection\' of its socket',
    ] as $kind => $line
) {
    check("an application sees the connections of its socket ($kind)", function () use ($kind, $line) {
        $server = serve($kind);
        echoes(Client::open($server->port));
        $server->wait('connected');
        logged($server, $line);
    });
}

check('a plain stack is served by the native server', function () {
    $server = serve('plain');
    echoes(Client::open($server->port));
    logged($server, null);
});

if (!original()) {
    // Ratchet has no limit without a memory_limit.
    foreach (['plain' => 'the native server', 'reaching' => 'React'] as $kind => $name) {
        check("without a memory_limit $name takes messages of up to 32 MiB", function () use ($kind) {
            $server = new ServerProcess('departures', [$kind], ['memory_limit' => '-1', 'log_errors' => '0']);
            $client = Client::open($server->port);
            $client->write("\x82\xff" . pack('J', (32 << 20) + 1) . 'mask');
            [$opcode, $payload] = $client->next();
            same([8, 1009], [$opcode, unpack('n', $payload)[1]]);
        });
    }
}

finish();
