--TEST--
reject() answers with status, body and headers
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onUpgrade(function (Sprocket\Handshake $h) {
    var_dump($h->reject(401, "Log in first.\n", ['WWW-Authenticate' => 'Bearer', 'X-Many' => ['1', '2']]));
    var_dump($h->isPending());
});
$server->onOpen(function () { echo "not to be reached\n"; });
$server->start();
$client = Client::of($server);
$r = $client->raw($client->upgradeRequest())->response();
echo "$r->status $r->reason, $r->body", $r->headers['www-authenticate'], ' ', $r->headers['x-many'], ' ', $r->headers['content-type'], "\n";
var_dump($server->stats()['rejected'], $server->stats()['opened'], count($server));
--EXPECT--
bool(true)
bool(false)
401 Unauthorized, Log in first.
Bearer 1, 2 text/plain; charset=utf-8
int(1)
int(0)
int(0)
