--TEST--
Hundreds of headers are accepted, and the cost of reading them from PHP is linear in their size
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(maxHeaderSize: 1 << 20));
$times = [];

/** CPU time of this process in microseconds, so that other processes do not distort the measurement. */
function used(): int
{
    $usage = getrusage();
    return 1_000_000 * ($usage['ru_utime.tv_sec'] + $usage['ru_stime.tv_sec']) + $usage['ru_utime.tv_usec'] + $usage['ru_stime.tv_usec'];
}

$server->onRequest(function ($request) use (&$times) {
    foreach (['cookies', 'headers', 'subprotocols', 'query'] as $part) {
        $start = used();
        $counts[$part] = count(@$request->$part());
        $times[$part][] = used() - $start;
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

// Less than 4 KiB of cookies and of subprotocols first, then 256 KiB of each.
foreach ([1_000, 64_000] as $count) {
    $names = array_map(fn ($i) => base_convert((string) $i, 10, 36), range(1, $count));
    $query = '/?' . implode('&', array_slice($names, 0, 900));
    $headers = implode('', array_map(fn ($i) => "X-$i: v\r\n", range(1, intdiv($count, 100))));
    foreach (array_chunk($names, 1000) as $chunk) {
        $headers .= 'Cookie: ' . implode(';', $chunk) . "\r\nSec-WebSocket-Protocol: " . implode(',', $chunk) . "\r\n";
    }
    echo ask($query, $headers), "\n";
}
foreach ($times as $part => [$small, $large]) {
    // There are 64 times as many items; a quadratic algorithm would take 4,096 times as long.
    echo "$part: ", $large < 1000 * max($small, 100) ? 'linear' : "$small µs, then $large µs", "\n";
}
echo 'over 1,024: ', substr(ask('/', implode('', array_map(fn ($i) => "X-$i: v\r\n", range(1, 1100)))), 0, 3), "\n";
--EXPECT--
200 {"cookies":1000,"headers":13,"subprotocols":1000,"query":900}
200 {"cookies":1000,"headers":643,"subprotocols":64000,"query":900}
cookies: linear
headers: linear
subprotocols: linear
query: linear
over 1,024: 431
