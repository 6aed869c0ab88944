--TEST--
With compression, messages are deflated in both directions for clients that offer it
--EXTENSIONS--
sprocket
zlib
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

const OFFER = ['Sec-WebSocket-Extensions' => 'permessage-deflate; client_max_window_bits'];

function deflated(DeflateContext $codec, string $message): string
{
    return substr(deflate_add($codec, $message, ZLIB_SYNC_FLUSH), 0, -4);
}

foreach ([false, true, new Sprocket\Compression(contextTakeover: true)] as $compression) {
    $server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(compression: $compression));
    $server->onMessage(fn ($c, $m) => $c->send($m));
    $server->start();
    $client = Client::of($server)->open(OFFER);
    echo $client->head->headers['sec-websocket-extensions'] ?? 'none', "\n";
    $long = str_repeat('It compresses well. ', 500);
    if (!$compression) {
        echo $client->send($long)->message() === $long ? "plain\n" : "differs\n";
        halt($server);
        continue;
    }
    $out = deflate_init(ZLIB_ENCODING_RAW);
    $in = inflate_init(ZLIB_ENCODING_RAW);
    for ($i = 0; $i < 2; $i++) {
        if ($compression === true) {
            $out = deflate_init(ZLIB_ENCODING_RAW);
            $in = inflate_init(ZLIB_ENCODING_RAW);
        }
        $client->raw(Client::encode(Client::TEXT, deflated($out, $long), rsv: 4));
        $frame = $client->read();
        echo $frame->rsv === 4 && strlen($frame->payload) < 1000 ? 'deflated, ' : 'not deflated, ';
        echo inflate_add($in, "$frame->payload\0\0\xff\xff", ZLIB_SYNC_FLUSH) === $long ? "equal\n" : "differs\n";
    }
    echo $client->send('short')->message(), "\n";
    halt($server);
}
--EXPECT--
none
plain
permessage-deflate; server_no_context_takeover; client_no_context_takeover
deflated, equal
deflated, equal
short
permessage-deflate
deflated, equal
deflated, equal
short
