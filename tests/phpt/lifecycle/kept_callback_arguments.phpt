--TEST--
Callback arguments that the script keeps outlive the server
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$kept = [];
$server->onUpgrade(function ($h) use (&$kept) { $kept[] = $h; $kept[] = $h->request; $h->accept(); });
$server->onOpen(function ($c) use (&$kept) { $kept[] = $c; });
$server->start();
$client = new Client($server->addresses()[0]);
$client->raw($client->upgradeRequest([], '/kept'));
pump($server, function () use (&$kept) { return count($kept) === 3; });
$server = null;
gc_collect_cycles();
$client->ended();
[$handshake, $request, $connection] = $kept;
var_dump($handshake->isPending(), $request->path(), $connection->isOpen(), $connection->request === $request, $connection->send('x'));
echo thrown(fn () => $handshake->accept()), "\n";
--EXPECT--
bool(false)
string(5) "/kept"
bool(false)
bool(true)
bool(false)
Sprocket\StateException
