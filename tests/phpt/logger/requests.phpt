--TEST--
Refused plain requests and connections are logged at a lower level
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/logger.inc';

use Sprocket\{Options, Request, Response, Server};

function sent(string $bytes, array $options = [], ?Closure $onRequest = null): void
{
    $log = new Lines();
    $refused = '-> onRefused not called';
    $server = new Server('ws://127.0.0.1:0', new Options(...$options, logger: $log, maxHeaderSize: 8192));
    $server->onRefused(function (Request $request, int $status, string $reason) use (&$refused): void {
        $refused = "-> {$request->path()} {$request->scheme()} $status: $reason";
        $refused .= ' ' . thrown(fn () => $request->respond(new Response(200)), 'The server has refused this request');
    });
    $server->onRequest($onRequest);
    $server->start();
    $log->lines = [];
    $client = Client::of($server)->raw($bytes);
    pump($server, fn (): bool => $log->lines !== []);
    echo $log->lines[0][2]['event'], ' ', show_line($log->lines[0]), "\n", $refused, "\n";
}

$answer = fn (): Response => new Response(200);
sent("GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
sent("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
sent("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n12345678901", ['maxBodySize' => 10], $answer);
sent("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n", ['handshakeTimeout' => 0.2], $answer);
sent("GET /x HTTP/1.1\r\nHost: a\r\n\r\n", ['handshakeTimeout' => 0.2], function (Request $r): ?Response { $GLOBALS['kept'] = $r; return null; });
sent("GET /x HTTP/1.1\r\nHost: a\r\nX: " . str_repeat('x', 9000) . "\r\n\r\n");
sent("nonsense\r\n\r\n");
sent("GET / HTTP/1.1\r\n", ['handshakeTimeout' => 0.2]);
--EXPECT--
request.refused debug: Request from 127.0.0.1 refused with 426: This is a WebSocket endpoint [status=426 method=GET path=/x]
-> /x http 426: This is a WebSocket endpoint. Sprocket\StateException
request.refused debug: Request from 127.0.0.1 refused with 405: Only GET is answered here [status=405 method=POST path=/x]
-> /x http 405: Only GET is answered here. Sprocket\StateException
request.refused info: Request from 127.0.0.1 refused with 413: The body is larger than the option maxBodySize allows [status=413 method=POST path=/x option=maxBodySize]
-> /x http 413: The body is larger than the option maxBodySize allows. Sprocket\StateException
request.refused info: Request from 127.0.0.1 refused with 408: The body did not arrive within the time limit of the option handshakeTimeout [status=408 method=POST path=/x option=handshakeTimeout]
-> /x http 408: The body did not arrive within the time limit of the option handshakeTimeout. Sprocket\StateException
request.refused warning: Request from 127.0.0.1 refused with 504: onRequest did not answer within the time limit of the option handshakeTimeout [status=504 method=GET path=/x option=handshakeTimeout]
-> /x http 504: onRequest did not answer within the time limit of the option handshakeTimeout. Sprocket\StateException
request.refused info: Socket from 127.0.0.1 closed: the request head is larger than the option maxHeaderSize allows [status=431 option=maxHeaderSize]
-> onRefused not called
request.malformed info: Socket from 127.0.0.1 closed: the request is malformed [status=400]
-> onRefused not called
handshake.timeout info: Socket from 127.0.0.1 closed: the handshake took longer than the option handshakeTimeout allows [option=handshakeTimeout]
-> onRefused not called
