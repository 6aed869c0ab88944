--TEST--
By default only pages from the server's own host and port are admitted
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onUpgrade(fn ($h) => $h->accept());
$server->start();
[, $port] = explode('127.0.0.1:', $server->addresses()[0]);
$origins = [
    null, "http://127.0.0.1:$port", "https://127.0.0.1:$port", "http://127.0.0.1:1", 'http://127.0.0.1',
    "http://localhost:$port", 'http://evil.example', 'null', "http://127.0.0.1:$port/", '', "http://127.0.0.1:$port.evil.example", "127.0.0.1:$port",
    'http://a b', 'http://127.0.0.1/page', 'file://', "capacitor://127.0.0.1:$port",
];
foreach ($origins as $origin) {
    $client = Client::of($server);
    $r = $client->raw($client->upgradeRequest($origin === null ? [] : ['Origin' => $origin]))->response();
    echo str_replace($port, 'PORT', $origin ?? 'none'), ': ', $r->status, "\n";
}
echo trim($r->body), "\n";
var_dump($server->stats()['refusedOrigin'] >= 7);
--EXPECTREGEX--
none: 101
http:\/\/127\.0\.0\.1:PORT: 101
https:\/\/127\.0\.0\.1:PORT: (101|403)
http:\/\/127\.0\.0\.1:1: 403
http:\/\/127\.0\.0\.1: 403
http:\/\/localhost:PORT: 403
http:\/\/evil\.example: 403
null: 403
http:\/\/127\.0\.0\.1:PORT\/: 101
: 400
http:\/\/127\.0\.0\.1:PORT\.evil\.example: 400
127\.0\.0\.1:PORT: 400
http:\/\/a b: 400
http:\/\/127\.0\.0\.1\/page: 400
file:\/\/: 403
capacitor:\/\/127\.0\.0\.1:PORT: 403
The option "origins" does not admit the origin capacitor:\/\/127\.0\.0\.1:\d+; by default it must match the Host header, 127\.0\.0\.1:\d+\.
bool\(true\)
