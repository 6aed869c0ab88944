--TEST--
A malformed handshake gets an error status and an explanation
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->start();
$cases = [
    'POST' => ['', [], 'POST'],
    'version 8' => ['', ['Sec-WebSocket-Version' => '8']],
    'no version' => ['', ['Sec-WebSocket-Version' => []]],
    'no key' => ['', ['Sec-WebSocket-Key' => []]],
    'short key' => ['', ['Sec-WebSocket-Key' => 'c2hvcnQ=']],
    'no base64' => ['', ['Sec-WebSocket-Key' => '!!!!!!!!!!!!!!!!!!!!!!==']],
    'two keys' => ['', ['Sec-WebSocket-Key' => [Client::KEY, Client::KEY]]],
    'no Connection' => ['', ['Connection' => []]],
    'no Upgrade' => ['', ['Upgrade' => []]],
    'other Upgrade' => ['', ['Upgrade' => 'h2c']],
    'no Host' => ['', ['Host' => []]],
];
foreach ($cases as $name => [, $headers]) {
    $client = Client::of($server);
    $r = $client->raw($client->upgradeRequest($headers, '/', $cases[$name][2] ?? 'GET'))->response();
    echo "$name: $r->status", strlen(trim($r->body)) > 5 ? '' : ' without a word',
        $r->status === 426 ? " {$r->headers['sec-websocket-version']}" : '', "\n";
}
echo "well-formed: ", Client::of($server)->open(['Connection' => 'keep-alive, Upgrade', 'Upgrade' => 'WebSocket'])->head->status, "\n";
--EXPECT--
POST: 405
version 8: 426 13
no version: 426 13
no key: 400
short key: 400
no base64: 400
two keys: 400
no Connection: 400
no Upgrade: 426 13
other Upgrade: 426 13
no Host: 400
well-formed: 101
