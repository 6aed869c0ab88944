<?php

declare(strict_types=1);

// Clients that read too slowly, under both policies.

require __DIR__ . '/lib/bootstrap.php';

// 39 MB, which exceed the kernel's socket buffers, sent at once or as one message per millisecond.
const FLOOD = 'flood 600 65536', STREAM = 'stream 600 65536';

test('a client that never reads is closed with 1013 when its buffer is full', function (): void {
    $server = TestServer::start(['closeTimeout' => 0.5]);
    $client = $server->open()->send(STREAM);
    // The two lines may arrive in either order.
    $lines = [$server->child->line($any = '/^(streamed|close) /', 20.0), $server->child->line($any, 20.0)];
    rsort($lines);
    check(str_contains($lines[1], ' 1013 '), "onClose got another code: $lines[1]");
    $accepted = (int) substr($lines[0], 9);
    check($accepted >= 16 && $accepted < 600, "$accepted messages were accepted");
    $server->counts('slowClosed', 1);
    $server->counts('connections', 0);
    $client->drop();
    $server->lives();
});

test('a client closed with 1013 gets that code if it reads after all', function (): void {
    $server = TestServer::start(['closeTimeout' => 10.0]);
    $client = $server->open()->send(STREAM);
    $server->child->line('/^streamed/');
    $number = 0;
    while (($frame = $client->read())->opcode === Client::TEXT) {
        same($number, (int) $frame->payload, 'message');
        $number++;
    }
    same([Client::CLOSE, 1013], [$frame->opcode, unpack('n', $frame->payload)[1]], 'opcode and code');
    check($number >= 16, "only $number messages arrived");
});

test('with the policy drop the client stays connected, and messages are dropped whole and counted', function (): void {
    $server = TestServer::start(['slowConsumer' => 'drop']);
    $client = $server->open()->send(STREAM);
    $accepted = (int) substr($server->child->line('/^streamed/'), 9);
    check($accepted >= 16 && $accepted < 600, "$accepted messages were accepted");
    $server->counts('slowDropped', 600 - $accepted);
    same(1, $server->stats()['connections'], 'connections');
    $last = -1;
    for ($i = 0; $i < $accepted; $i++) {
        $message = $client->message();
        same(65536, strlen($message), 'length');
        check((int) $message > $last, 'the order is lost');
        $last = (int) $message;
    }
    same('hello', $client->send('hello')->message(), 'echo afterwards');
    same(0, $server->stats()['slowClosed'], 'connections closed for slowness');
});

test('sendBufferLimit bounds the buffer', function (): void {
    $server = TestServer::start(['slowConsumer' => 'drop', 'sendBufferLimit' => 200_000]);
    $before = $server->stats()['rss'];
    $clients = [];
    for ($i = 0; $i < 10; $i++) {
        $clients[] = $server->open()->send(STREAM);
    }
    foreach ($clients as $client) {
        $server->child->line('/^streamed/', 60.0);
    }
    $grown = $server->stats()['rss'] - $before;
    check($grown < 20_000, "the server uses $grown KiB more for ten clients");
    foreach ($clients as $client) {
        $client->drop();
    }
});

test('a client that reads is not slow', function (): void {
    $server = TestServer::start();
    $client = $server->open()->send(STREAM);
    for ($i = 0; $i < 600; $i++) {
        check(str_starts_with($client->message(), "$i "), "message $i is out of order");
    }
    same('streamed 600', $server->child->line('/^streamed/'));
});

test('messages up to sendBufferLimit that are sent at once arrive whole', function (): void {
    $server = TestServer::start(['sendBufferLimit' => 64 << 20]);
    $client = $server->open()->send(FLOOD);
    for ($i = 0; $i < 600; $i++) {
        check(str_starts_with($client->message(), "$i "), "message $i is out of order");
    }
    same('0', $client->send('buffered')->message(), 'buffered amount');
});

test('a message larger than sendBufferLimit does not close an idle client', function (): void {
    $server = TestServer::start(['sendBufferLimit' => 1000]);
    $client = $server->open()->send('flood 1 5000');
    $message = $client->read();
    // The message passes because nothing was queued before it, or it is refused with 1013.
    check($message->opcode === Client::TEXT || unpack('n', $message->payload)[1] === 1013, 'neither message nor 1013');
});

test('pings of a client that never reads do not fill memory with pongs', function (): void {
    $server = TestServer::start(['pingInterval' => 0.0, 'closeTimeout' => 0.5]);
    $client = $server->open();
    $before = $server->stats()['rss'];
    $pings = str_repeat(Client::encode(Client::PING, str_repeat('p', 125)), 500);
    $sent = 0;
    $until = microtime(true) + 3.0;
    while (microtime(true) < $until && $sent < 60_000_000) {
        $n = @fwrite($client->stream, substr($pings, $sent % strlen($pings)));
        if ($n === false) {
            break; // a cut is fine as well
        }
        $n === 0 ? usleep(2000) : $sent += $n;
    }
    $grown = $server->stats()['rss'] - $before;
    check($grown < 10_000, "$sent bytes of pings, $grown KiB more memory");
    $server->lives();
});

test('a slow client does not slow the others', function (): void {
    $server = TestServer::start(['slowConsumer' => 'drop']);
    $slow = $server->open()->send(STREAM);
    $server->child->line('/^streamed/');
    $other = $server->open();
    $took = seconds(function () use ($other): void {
        for ($i = 0; $i < 200; $i++) {
            $other->send("$i")->message();
        }
    });
    check($took < 6.0, sprintf('200 echoes took %.1f s', $took));
    $slow->drop();
});
