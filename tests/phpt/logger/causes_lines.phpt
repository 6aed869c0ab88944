--TEST--
A logger that causes another line at each call does not keep the server from its work
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/logger.inc';

use Sprocket\{Connection, Options, Server};

$calls = 0;
$server = new Server('ws://127.0.0.1:0', new Options(logger: function () use (&$server, &$calls): void {
    if (++$calls > 1000) {
        exit("the logger is called without end\n");
    }
    $server->reloadTls(); // logs its result
}));
$server->onMessage(fn (Connection $c, string $payload) => $c->send($payload));
$server->start();
echo Client::of($server)->open()->send('served')->message(), "\n";
var_dump($calls > 1);
halt($server);
--EXPECT--
served
bool(true)
