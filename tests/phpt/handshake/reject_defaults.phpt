--TEST--
reject() without arguments sends 403, and the body names the status
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onUpgrade(fn ($h) => $h->reject());
$server->start();
$client = Client::of($server);
$r = $client->raw($client->upgradeRequest())->response();
echo $r->status, ' ', trim($r->body), "\n";
$server->onUpgrade(fn ($h) => $h->reject(503, '<h1>Full</h1>', ['content-type' => 'text/html', 'Retry-After' => '5']));
$client = Client::of($server);
$r = $client->raw($client->upgradeRequest())->response();
echo $r->status, ' ', $r->body, ' ', $r->headers['content-type'], ' ', $r->headers['retry-after'], "\n";
--EXPECTREGEX--
403 .*Forbidden.*
503 <h1>Full<\/h1> text\/html 5
