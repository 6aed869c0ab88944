--TEST--
Hundreds of headers are taken, and what PHP reads of a large head costs as much as it is long
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(maxHeaderSize: 1 << 20));
$times = [];
$server->onRequest(function ($request) use (&$times) {
    foreach (['cookies', 'headers', 'subprotocols', 'query'] as $part) {
        $runs = [];
        for ($i = 0; $i < 3; $i++) {
            $start = hrtime(true);
            $counts[$part] = count(@$request->$part());
            $runs[] = hrtime(true) - $start;
        }
        $times[$part][] = min($runs);
    }
    return new Sprocket\Response(200, json_encode($counts));
});
$server->start();

function ask(string $target, string $headers): string
{
    global $server;
    $r = Client::of($server)->raw("GET $target HTTP/1.1\r\nHost: localhost\r\n$headers\r\n")->response();
    return "$r->status $r->body";
}

/** 16 KiB of each, and 512 KiB of cookies and subprotocols. */
foreach ([2_000, 64_000] as $count) {
    $names = array_map(fn ($i) => base_convert((string) $i, 10, 36), range(1, $count));
    $query = '/?' . implode('&', array_slice($names, 0, 1000));
    $headers = implode('', array_map(fn ($i) => "X-$i: v\r\n", range(1, intdiv($count, 100))));
    foreach (array_chunk($names, 1000) as $chunk) {
        $headers .= 'Cookie: ' . implode(';', $chunk) . "\r\nSec-WebSocket-Protocol: " . implode(',', $chunk) . "\r\n";
    }
    echo ask($query, $headers), "\n";
}
foreach ($times as $part => [$small, $large]) {
    // 32 times as long; a scan for each item would take 1,024 times as much.
    echo "$part: ", $large < 250 * max($small, 20_000) ? 'linear' : "$small ns, then $large ns", "\n";
}
echo 'over 1,024: ', substr(ask('/', implode('', array_map(fn ($i) => "X-$i: v\r\n", range(1, 1100)))), 0, 3), "\n";
--EXPECT--
200 {"cookies":1000,"headers":23,"subprotocols":2000,"query":1000}
200 {"cookies":1000,"headers":643,"subprotocols":64000,"query":1000}
cookies: linear
headers: linear
subprotocols: linear
query: linear
over 1,024: 431
