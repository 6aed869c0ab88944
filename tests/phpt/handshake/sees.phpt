--TEST--
onUpgrade gets the method, target, headers, cookies, subprotocols and addresses of the request
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onUpgrade(function (Sprocket\Handshake $h) {
    $r = $h->request;
    echo $r->method(), ' ', $r->path(), ' ', $r->query()['token'], ' ', $r->header('x-api-key'), ' ',
        $r->cookies()['session'], ' ', implode('|', $r->subprotocols()), ' ', $r->remoteAddress(), ' ',
        $r->scheme(), ' ', $r->header('nothing') ?? 'null', "\n";
    var_dump($r === $h->request, $r->remotePort() > 0, $r->body());
    $h->accept(data: $r);
});
$server->onOpen(fn ($c) => var_dump($c->data === $c->request));
$server->start();
$client = Client::of($server)->open([
    'X-API-Key' => 'k', 'Cookie' => 'session=s', 'Sec-WebSocket-Protocol' => ['a, b', 'c'],
], '/room?token=t');
pump($server, fn () => count($server) === 1);
--EXPECT--
GET /room t k s a|b|c 127.0.0.1 ws null
bool(true)
bool(true)
string(0) ""
bool(true)
