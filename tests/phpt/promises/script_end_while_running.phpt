--TEST--
A script can end while its server is running with open connections
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';
require __DIR__ . '/../inc/child.inc';

$child = Child::code(<<<'PHP'
    $server = new Sprocket\Server('ws://127.0.0.1:0');
    $kept = [];
    $server->onOpen(function ($c) use (&$kept) { $kept[] = $c; $c->data = $kept; });
    $server->onClose(fn () => print("onClose\n"));
    $server->every(100, fn () => $server);
    $server->start();
    echo $server->addresses()[0], "\n";
    while (count($server) < 2) {
        $server->poll(1);
    }
    echo "the end\n";
    PHP);
$address = $child->line('/^ws:/');
$clients = [(new Client($address))->open(), (new Client($address))->open()];
echo $child->wait(), "\n";
foreach ($clients as $client) {
    $client->ended();
}
echo preg_replace('/^ws:.*\n/', '', $child->output);
--EXPECT--
0
the end
