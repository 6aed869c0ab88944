--TEST--
A request can be answered once and later, unless its client has gone or its time is up
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

use Sprocket\{Connection, Options, Request, Response, Server};

$kept = [];
$errors = [];
$server = new Server('ws://127.0.0.1:0', new Options(handshakeTimeout: 4.0));
$server->onError(function (Throwable $e) use (&$errors) { $errors[] = get_class($e); });
$server->onRequest(function (Request $r) use (&$kept, $server): ?Response {
    switch ($r->path()) {
        case '/later':
            $server->after(0.05, fn () => var_dump($r->respond(new Response(202, 'later'))));
            return null;
        case '/inside':
            var_dump($r->respond(new Response(203, 'inside')));
            echo thrown(fn () => $r->respond(new Response())), "\n";
            return null;
        case '/both':
            $r->respond(new Response(200, 'first'));
            return new Response(500, 'second');
        case '/at-once':
            return new Response(200, 'at once');
        case '/kept':
            $kept[] = $r;
            return null;
        case '/throws':
            $kept[] = $r;
            throw new Exception('thrown');
        default:
            return null;
    }
});
$server->start();
$ask = fn (string $path): Client => Client::of($server)->raw("GET $path HTTP/1.1\r\nHost: localhost\r\n\r\n");

foreach (['/later', '/inside', '/both', '/forgotten', '/throws'] as $path) {
    $response = $ask($path)->response();
    echo "$path $response->status ", trim($response->body), "\n";
}
echo thrown(fn () => $kept[0]->respond(new Response())), "\n";

echo "the client goes away\n";
$kept = [];
// The unread response to the first request makes this a reset. After an orderly shutdown of only the
// client's sending side, the server would still answer.
$client = $ask('/at-once')->raw("GET /kept HTTP/1.1\r\nHost: localhost\r\n\r\n");
pump($server, function () use (&$kept): bool { return $kept !== []; });
$client->drop();
$until = microtime(true) + 2.0;
pump($server, fn (): bool => microtime(true) > $until);
var_dump($kept[0]->respond(new Response()));

echo "the time is up\n";
$kept = [];
echo $ask('/kept')->response()->status, "\n";
var_dump($kept[0]->respond(new Response()));

echo "a handshake request cannot be answered\n";
$server->onOpen(function (Connection $c) { echo thrown(fn () => $c->request->respond(new Response())), "\n"; });
$client = Client::of($server)->open();
pump($server, fn (): bool => count($server) === 1);

echo "beyond the end of the server\n";
$kept = [];
$client = $ask('/kept');
pump($server, function () use (&$kept): bool { return $kept !== []; });
halt($server);
var_dump($kept[0]->respond(new Response()));
echo thrown(fn () => $kept[0]->respond(null)), "\n";
echo implode(' ', $errors), "\n";
--EXPECT--
bool(true)
/later 202 later
bool(true)
Sprocket\StateException
/inside 203 inside
/both 200 first
/forgotten 500 Internal Server Error
/throws 500 Internal Server Error
Sprocket\StateException
the client goes away
bool(false)
the time is up
504
bool(false)
a handshake request cannot be answered
Sprocket\StateException
beyond the end of the server
bool(false)
TypeError
TypeError Exception
