--TEST--
Two servers in one process are independent
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

foreach (['one', 'two'] as $name) {
    $servers[$name] = $server = new Sprocket\Server('ws://127.0.0.1:0');
    $server->onMessage(function ($c, $m) use ($name) { $c->send("$m from $name"); });
    $server->start();
    $clients[$name] = Client::of($server)->open();
    pump($server, fn () => count($server) === 1);
}
foreach ($clients as $client) {
    echo $client->send('hello')->message(), "\n";
}
[$id] = array_keys($servers['one']->connections());
var_dump($servers['two']->connection($id));
halt($servers['one']);
echo $clients['two']->send('still there')->message(), "\n";
--EXPECT--
hello from one
hello from two
NULL
still there from two
