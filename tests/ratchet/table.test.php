<?php

/**
 * Observed behaviour of Ratchet on the wire, row by row. Each row holds for both, or states what the
 * drop-in does instead; php/ratchet/README.md gives the reasons.
 *
 * RATCHET_AUTOLOAD runs the same rows against the original.
 */

require __DIR__ . '/support/harness.php';

needs('table', ['symfony-routing' => 'Symfony/Component/Routing']);

/** The value that a row expects: Ratchet's, or the drop-in's where it deviates. */
function either(mixed $ratchet, mixed $dropin): mixed
{
    return original() ? $ratchet : $dropin;
}

/** Header names in the order of a response. */
function names(string $head): array
{
    preg_match_all('/^([\w-]+):/m', $head, $match);

    return array_map('strtolower', $match[1]);
}

/** A server for one kind of application, started once. */
function server(string $kind = 'plain'): ServerProcess
{
    static $servers = [];
    if (!isset($servers[$kind]) || !$servers[$kind]->isRunning()) {
        $servers[$kind] = new ServerProcess('table', [$kind]);
    }
    $servers[$kind]->count('open', 0.05);
    $servers[$kind]->events = [];

    return $servers[$kind];
}

check('101: headers as in Ratchet, no extension although deflate is offered', function () {
    $client = new Client(server()->port);
    $client->write(Client::request('/', ['Sec-WebSocket-Extensions' => 'permessage-deflate']));
    $head = $client->head();
    $names = array_values(array_intersect(names($head), ['upgrade', 'connection', 'sec-websocket-accept', 'x-powered-by', 'sec-websocket-extensions']));
    sort($names);
    same(['connection', 'sec-websocket-accept', 'upgrade', 'x-powered-by'], $names);
    that(stripos($head, 'X-Powered-By: Ratchet/0.4.4') !== false, 'version in X-Powered-By');
    that(stripos($head, 'Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=') !== false, 'accept key');
});

check('a subprotocol that the application does not name', function () {
    $client = new Client(server()->port);
    $client->write(Client::request('/', ['Sec-WebSocket-Protocol' => 'chat']));
    $head = $client->head();
    same(either('426', '101'), substr($head, 9, 3));
    that(!in_array('sec-websocket-protocol', names($head)), 'none is agreed on');
});

check('the same, strict', function () {
    $client = new Client(server('strict')->port);
    $client->write(Client::request('/', ['Sec-WebSocket-Protocol' => 'chat']));
    same('426', substr($client->head(), 9, 3));
    that($client->endsWithin(3), 'connection ends');
});

check('the application names subprotocols, the client offers none', function () {
    $client = new Client(server('protocols')->port);
    $client->write(Client::request());
    [$status, $head, $body] = $client->response();
    same(426, $status);
    that((bool) preg_match('~^Upgrade: websocket\r?$~mi', $head), $head);
    that((bool) preg_match('~^Sec-Web[Ss]ocket-Version: 13\r?$~m', $head), $head);
    that((bool) preg_match('~^Sec-Web[Ss]ocket-Protocol: soap, chat\r?$~m', $head), $head);
    that((bool) preg_match('~^X-Powered-By: Ratchet/0.4.4\r?$~m', $head), $head);
    same(either('', 'No Sec-WebSocket-Protocols requested supported: soap, chat'), $body);
});

check('the first of the client\'s subprotocols that the application names', function () {
    $client = new Client(server('protocols')->port);
    $client->write(Client::request('/', ['Sec-WebSocket-Protocol' => 'x, chat, soap']));
    same(1, preg_match('/^Sec-WebSocket-Protocol: chat$/mi', str_replace("\r", '', $client->head())));
    $client->text('echo:hi');
    same('hi', $client->nextText());
});

check('a frame in the same segment as the request', function () {
    $client = new Client(server()->port);
    $client->write(Client::request() . Client::frame(1, 'echo:first'));
    $client->head();
    $client->text('echo:second');
    same(either('second', 'first'), $client->nextText());
});

check('an exception in onOpen: 101, onError, the connection stays', function () {
    $server = server('failing-open');
    $client = Client::open($server->port);
    same(['error', 'Exception', 'no opening today', null], $server->wait('error'));
    $client->text('echo:alive');
    same('alive', $client->nextText());
});

check('an exception in onMessage: onError, the connection stays', function () {
    $server = server();
    $client = Client::open($server->port);
    $client->text('throw');
    same(['error', 'LogicException', 'thrown', null], $server->wait('error'));
    $client->text('echo:alive');
    same('alive', $client->nextText());
});

check('an exception in onClose does not reach onError; it is reported', function () {
    $server = server('failing-close');
    Client::open($server->port)->close();
    $server->wait('close');
    same(0, $server->count('error'));
    that($server->isRunning(), 'server lives');
    same(!original(), str_contains($server->stderr, 'no closing today'), 'reported');
});

check('an exception in onError', function () {
    $server = server('failing-error');
    $client = Client::open($server->port);
    $client->text('throw');
    $server->wait('error');
    if (original()) {
        that($server->diesWithin(3), 'process dies');

        return;
    }
    $server->wait('close');
    that(str_contains($server->stderr, 'no errors today'), 'reported');
    $other = Client::open($server->port);
    $other->text('echo:alive');
    same('alive', $other->nextText());
});

check('a TypeError in a callback', function () {
    $server = server();
    $client = Client::open($server->port);
    $client->text('error');
    if (original()) {
        that($server->diesWithin(3), 'process dies');

        return;
    }
    $error = $server->wait('error');
    same(['ErrorException', 'TypeError'], [$error[1], $error[3]]);
    $client->text('echo:alive');
    same('alive', $client->nextText());
});

check('close() in onMessage: 1000, null, send() is silent, onClose once and later', function () {
    $server = server();
    $client = Client::open($server->port);
    $client->text('close');
    same([8, "\x03\xe8", true], $client->next());
    same(['closed', null, true, true], $server->wait('closed'));
    $server->wait('close', 0.9);
    same(0, $server->count('close'));
    // Ratchet ends the stream at once; the drop-in after the peer's close frame, or a second.
    that($client->endsWithin(either(0.5, 3.0)), 'stream ends');
});

check('close() behind a large message: all of it arrives, also at a slow reader', function () {
    $client = Client::open(server()->port);
    socket_set_option(socket_import_stream($client->socket), SOL_SOCKET, SO_RCVBUF, 65536);
    stream_set_chunk_size($client->socket, 65536);
    $client->text('scalar:str_repeat("x", 8000000)');
    $client->text('close:4000');
    $start = microtime(true);
    // Takes about three seconds, while the answer to the close frame has a time limit of one.
    while (strlen($client->buffer) < 8_000_000 + 10 + 4 && ($bytes = (string) fread($client->socket, 65536)) !== '') {
        $client->buffer .= $bytes;
        usleep((int) max(0, (strlen($client->buffer) / 2.7e6 - microtime(true) + $start) * 1e6));
    }
    same(8_000_000, strlen($client->nextText()));
    same([8, pack('n', 4000), true], $client->next());
    $client->close();
});

check('close() with the peer answering: the stream ends at once', function () {
    $server = server();
    $client = Client::open($server->port);
    $client->text('close:4001');
    same([8, "\x0f\xa1", true], $client->next());
    if (!original()) {
        $client->write(Client::frame(8, "\x0f\xa1"));
    }
    that($client->endsWithin(0.5), 'stream ends');
    same(either([null, null], [4001, '']), array_slice($server->wait('close'), 1));
});

check('frames behind the one that made the application close', function () {
    $server = server();
    $client = Client::open($server->port);
    $client->write(Client::frame(1, 'close') . Client::frame(1, 'behind'));
    $server->wait('close');
    same(either(2, 1), $server->count('message'));
});

check('the client closes: echoed, onClose with code and reason', function () {
    $server = server();
    $client = Client::open($server->port);
    $client->write(Client::frame(8, "\x03\xe8bye"));
    same([8, "\x03\xe8bye", true], $client->next());
    that($client->endsWithin(3), 'stream ends');
    same(either([null, null], [1000, 'bye']), array_slice($server->wait('close'), 1));
});

check('the client closes without a code', function () {
    $server = server();
    $client = Client::open($server->port);
    $client->write(Client::frame(8, ''));
    same([8, either("\x03\xe8", '')], array_slice($client->next(), 0, 2));
    same(either(null, 1005), $server->wait('close')[1]);
});

check('a reset, and an end without close frame: onClose once, no onError', function () {
    $server = server();
    $client = Client::open($server->port);
    $server->wait('open');
    $client->reset();
    same(either(null, 1006), $server->wait('close')[1]);
    $client = Client::open($server->port);
    $server->wait('open');
    $client->close();
    same(either(null, 1006), $server->wait('close')[1]);
    same([0, 0], [$server->count('close'), $server->count('error', 0)]);
});

check('text that is not UTF-8: 1007, not delivered', function () {
    $server = server();
    $client = Client::open($server->port);
    $client->write(Client::frame(1, "\xff\xfe"));
    $frame = $client->next();
    same([8, 1007], [$frame[0], unpack('n', $frame[1])[1]]);
    $server->wait('close');
    same(0, $server->count('message'));
});

check('a frame without mask: 1002', function () {
    $client = Client::open(server()->port);
    $client->write(Client::frame(1, 'echo:x', true, false));
    $frame = $client->next();
    same([8, 1002], [$frame[0], unpack('n', $frame[1])[1]]);
});

check('a binary message to an application of strings: a string; its echo', function () {
    $server = server();
    $client = Client::open($server->port);
    $client->write(Client::frame(2, "\x00\xff\x80"));
    same([either(1, 2), "\x00\xff\x80", true], $client->next());
    $client->write(Client::frame(2, 'type'));
    same('string', $client->nextText());
});

check('an application of objects: binary stays binary, text stays text', function () {
    $server = server('objects');
    $client = Client::open($server->port);
    $client->write(Client::frame(2, "\x00\xff") . Client::frame(1, 'text', false) . Client::frame(0, ' more'));
    same([2, "\x00\xff", true], $client->next());
    $first = $client->next();
    // Ratchet sends the fragments back as they came.
    same([1, 'text more'], [$first[0], $first[2] ? $first[1] : $first[1] . $client->next()[1]]);
    same(['object', true, 2, 1], $server->wait('object'));
    same(['object', false, 9, either(2, 1)], $server->wait('object'));
});

foreach (['42' => '42', '1.5' => '1.5', 'true' => '1', '""' => ''] as $php => $text) {
    check("send($php) sends '$text'", function () use ($php, $text) {
        $client = Client::open(server()->port);
        $client->text("scalar:$php");
        same([1, $text, true], $client->next());
    });
}

check('send(null) throws UnderflowException', function () {
    $server = server();
    $client = Client::open($server->port);
    $client->text('scalar:null');
    same('UnderflowException', $server->wait('error')[1]);
});

check('frames: binary, ping, pong, in fragments', function () {
    $client = Client::open(server()->port);
    $client->text('frame:2');
    same([2, 'bytes', true], $client->next());
    $client->text('frame:9');
    same([9, 'bytes', true], $client->next());
    $client->text('frame:10');
    same([10, 'bytes', true], $client->next());
    $client->text('fragments');
    $first = $client->next();
    $text = $first[2] ? $first[1] : $first[1] . $client->next()[1];
    same('abcd', $text);
});

if (!original()) {
    check('compression, where the application asks for it', function () {
        $client = new Client(server('compressed')->port);
        $client->write(Client::request('/', ['Sec-WebSocket-Extensions' => 'permessage-deflate; client_max_window_bits']));
        $head = $client->head();
        that((bool) preg_match('/^Sec-WebSocket-Extensions: permessage-deflate/mi', $head), $head);
        $text = str_repeat('Grüße ', 1000);
        $client->text("echo:$text");
        [$opcode, $payload] = $client->next();
        same([1, $text], [$opcode, inflate_add(inflate_init(ZLIB_ENCODING_RAW), "$payload\0\0\xff\xff")]);
        $plain = Client::open(server('compressed')->port);
        $plain->text("echo:$text");
        same($text, $plain->nextText());
    });
}

check('messages that onOpen sends follow the 101 in order', function () {
    $client = Client::open(server('greeting')->port);
    same(['welcome', 'again'], [$client->nextText(), $client->nextText()]);
});

check('properties stay with the connection; the request is PSR-7', function () {
    $client = Client::open(server()->port, '/some/path?x=1');
    $client->text('property');
    $client->text('property');
    same(['1 /some/path', '2 /some/path'], [$client->nextText(), $client->nextText()]);
});

check('a head of more than 4096 bytes', function () {
    $client = new Client(server()->port);
    $client->write(Client::request('/', ['Cookie' => str_repeat('x', 5000)]));
    same(either('413', '101'), substr($client->head(), 9, 3));
});

check('a head of more than 16 KiB', function () {
    $client = new Client(server()->port);
    $client->write(Client::request('/', ['Cookie' => str_repeat('x', 30000)]));
    same(either('413', '431'), substr($client->head(), 9, 3));
    that($client->endsWithin(3), 'connection ends');
});

check('no HTTP at all', function () {
    $client = new Client(server()->port);
    $client->write("\x16\x03\x01 garbage\r\n\r\n");
    same(either('500', '400'), substr($client->head(), 9, 3));
    that($client->endsWithin(3), 'connection ends');
});

check('no upgrade asked for: 426', function () {
    $client = new Client(server()->port);
    $client->write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    [$status, $head, $body] = $client->response();
    same(426, $status);
    that((bool) preg_match('~^Upgrade: websocket\r?$~mi', $head), $head);
    same(either('', 'Upgrade header MUST be provided'), $body);
    $client = new Client(server('protocols')->port);
    $client->write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    that((bool) preg_match('~^Sec-WebSocket-Protocol: soap, chat\r?$~mi', $head = $client->head()), $head);
});

check('App: a route without Origin is refused with 403, a foreign one too, the own one is not', function () {
    $port = server('app')->port;
    foreach ([[null, '403'], ['http://evil.example', '403'], ['http://localhost', '101']] as [$origin, $status]) {
        $client = new Client($port);
        $client->write(Client::request('/chat/1', ['Origin' => $origin]));
        same($status, substr($client->head(), 9, 3), "Origin $origin");
    }
});

check('App: another host is 404, an unknown path too, a route for all origins is open', function () {
    $port = server('app')->port;
    $status = static function (string $path, array $headers = []) use ($port): string {
        $client = new Client($port);
        $client->write(Client::request($path, $headers));

        return substr($client->head(), 9, 3);
    };
    same('404', $status('/open', ['Host' => 'elsewhere.example']));
    same('404', $status('/nowhere'));
    same('101', $status('/open'));
});

check('App: another method is 405 with Allow', function () {
    $client = new Client(server('app')->port);
    $client->write("POST /open HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
    $head = $client->head();
    same('405', substr($head, 9, 3));
    that((bool) preg_match('/^allow: *GET/mi', $head), 'Allow header');
});

check('keep-alive: a ping each interval; a silent peer is closed after one to two', function () {
    $server = server('keepalive');
    $begin = microtime(true);
    $client = Client::open($server->port);
    $ping = $client->next(3);
    same(9, $ping[0]);
    $server->wait('close', 6);
    $after = microtime(true) - $begin;
    that($after > 0.9 && $after < 6.0, "closed after $after s");
});

check('keep-alive: a peer that answers stays', function () {
    $server = server('keepalive');
    $client = Client::open($server->port);
    for ($i = 0; $i < 3; $i++) {
        $ping = $client->next(3);
        same(9, $ping[0]);
        $client->write(Client::frame(10, $ping[1]));
    }
    same(0, $server->count('close', 0.1));
});

check('a message of more than a quarter of memory_limit: 1009', function () {
    $server = new ServerProcess('table', ['plain'], ['memory_limit' => '32M']);
    $client = Client::open($server->port);
    try {
        $client->write(Client::frame(1, str_repeat('x', 9 << 20)));
    } catch (Failed) {
        // The server may close before it has read everything.
    }
    $frame = $client->next();
    same([8, 1009], [$frame[0] ?? null, unpack('n', $frame[1] ?? '??')[1]]);
});

if (!original()) {
    // Ratchet keeps what it sends until PHP runs out of memory.
    foreach (['-1', '64M'] as $limit) {
        check("a client that reads nothing is closed with 1013 before 16 MiB wait for it (memory_limit $limit)", function () use ($limit) {
            $server = new ServerProcess('table', ['plain'], ['memory_limit' => $limit]);
            $client = Client::open($server->port);
            for ($i = 0; $i < 64; $i++) {
                $client->text('scalar:str_repeat("x", 1 << 20)');
            }
            same(1013, $server->wait('close')[1]);
            that($server->peak() < 80 << 20, "the server has had {$server->peak()} bytes");
        });
    }

    check('a message of more than 16 MiB passes where nothing waits', function () {
        $server = new ServerProcess('table', ['plain'], ['memory_limit' => '-1']);
        $client = Client::open($server->port);
        $client->text('scalar:str_repeat("x", 20 << 20)');
        same(20 << 20, strlen($client->nextText(30)));
    });
}

finish();
