--TEST--
On a server that has not started, poll() and stream() throw, and other methods return empty values
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
echo thrown(fn () => $server->poll()), "\n";
echo thrown(fn () => $server->stream()), "\n";
$server->stop();
var_dump($server->isRunning(), $server->stats(), $server->connections(), $server->connection(1), count($server));
--EXPECT--
Sprocket\StateException
Sprocket\StateException
bool(false)
array(0) {
}
array(0) {
}
NULL
int(0)
