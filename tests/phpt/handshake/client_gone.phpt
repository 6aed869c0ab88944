--TEST--
Once its client is gone, a handshake is no longer pending, and answers return false
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onUpgrade(function (Sprocket\Handshake $h) use (&$kept) { $kept = $h; });
$server->onOpen(function () { echo "not to be reached\n"; });
$server->start();
foreach (['accept', 'reject'] as $answer) {
    $kept = null;
    $client = Client::of($server);
    $client->raw($client->upgradeRequest());
    pump($server, function () use (&$kept) { return $kept; });
    var_dump($kept->isPending());
    $client->drop();
    pump($server, function () use (&$kept) { return !$kept->isPending(); });
    var_dump($kept->$answer());
}
--EXPECT--
bool(true)
bool(false)
bool(true)
bool(false)
