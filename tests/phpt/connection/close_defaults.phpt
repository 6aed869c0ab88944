--TEST--
close() sends 1000 without a reason, and does nothing the second time
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onOpen(function ($c) { $c->close(); $c->close(4001, 'again'); });
$server->onClose(function ($c, $code, $reason) { var_dump($code, $reason); });
$server->start();
$client = Client::of($server)->open();
var_dump($client->closeCode());
$client->sendClose()->ended();
pump($server, fn () => count($server) === 0);
--EXPECT--
string(4) "1000"
int(1000)
string(0) ""
