--TEST--
In response to HEAD, and with status 204 or 304, a stream ends with its head
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/stream.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onRequest(function (Sprocket\Request $r) use (&$closed): void {
    $stream = $r->stream((int) substr($r->path(), 1), ['Content-Type' => 'text/html']);
    echo json_encode([$stream->isOpen(), $stream->write('x'), $stream->end('y'), $stream->bufferedAmount()]), "\n";
    $closed = false;
    $stream->onClose(function (Sprocket\ResponseStream $s, bool $complete) use (&$closed): void {
        echo 'closed ', json_encode($complete), "\n";
        $closed = true;
    });
});
$server->start();
foreach ([['HEAD', 200], ['GET', 204], ['GET', 304]] as [$method, $status]) {
    $client = ask($server, "/$status", $method);
    $head = head($client);
    pump($server, function () use (&$closed): bool { return $closed; });
    echo "$method $head->status ", $head->headers['content-length'] ?? 'no length', "\n";
    $client->raw("GET /204 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    $next = head($client);
    pump($server, function () use (&$closed): bool { return $closed; });
    echo "then $next->status\n";
}
--EXPECT--
[false,false,false,0]
closed true
HEAD 200 no length
[false,false,false,0]
closed true
then 204
[false,false,false,0]
closed true
GET 204 no length
[false,false,false,0]
closed true
then 204
[false,false,false,0]
closed true
GET 304 no length
[false,false,false,0]
closed true
then 204
