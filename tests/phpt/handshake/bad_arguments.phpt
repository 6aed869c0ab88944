--TEST--
An invalid answer throws, and the handshake stays pending
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onUpgrade(function (Sprocket\Handshake $h) {
    $bad = [
        fn () => $h->accept('not offered'),
        fn () => $h->accept(''),
        fn () => $h->accept(headers: ['X Y' => '1']),
        fn () => $h->accept(headers: ['' => '1']),
        fn () => $h->accept(headers: ['X' => "a\r\nSet-Cookie: b"]),
        fn () => $h->accept(headers: ['X' => ["fine", "a\nb"]]),
        fn () => $h->accept(headers: ['Connection' => 'close']),
        fn () => $h->accept(headers: ['Sec-WebSocket-Accept' => 'x']),
        fn () => $h->accept(headers: ['sec-websocket-extensions' => 'x']),
        fn () => $h->accept(headers: ['sec-websocket-protocol' => 'offered']),
        fn () => $h->accept(headers: ['no name']),
        fn () => $h->accept(headers: ['X' => ["\0"]]),
        fn () => $h->reject(101),
        fn () => $h->reject(199),
        fn () => $h->reject(600),
        fn () => $h->reject(-1),
        fn () => $h->reject(403, '', ['Content-Length' => '5']),
        fn () => $h->reject(403, '', ['Transfer-Encoding' => 'chunked']),
        fn () => $h->reject(403, '', ["X\r\n" => '5']),
    ];
    foreach ($bad as $i => $answer) {
        $e = thrown($answer);
        echo $e === 'ValueError' ? '' : "$i: $e\n";
    }
    foreach ([['X' => []], ['X' => new stdClass], ['X' => [[]]]] as $headers) {
        $e = thrown(fn () => $h->reject(403, '', $headers));
        echo in_array($e, ['ValueError', 'TypeError', 'nothing']) ? '' : "$e\n";
        if ($e === 'nothing') {
            return;
        }
    }
    var_dump($h->isPending(), $h->reject(418));
});
$server->start();
$client = Client::of($server);
echo $client->raw($client->upgradeRequest(['Sec-WebSocket-Protocol' => 'offered']))->response()->status, "\n";
--EXPECTREGEX--
(bool\(true\)
bool\(true\)
418|403)
