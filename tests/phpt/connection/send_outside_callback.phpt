--TEST--
A message sent outside a callback leaves at once, without another poll()
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->start();
$client = Client::of($server)->open();
pump($server, fn () => count($server) === 1);
current($server->connections())->send('hello');
$alone = new ReflectionProperty($client, 'pump');
stream_set_blocking($client->stream, true);
stream_set_timeout($client->stream, 5);
echo substr(fread($client->stream, 100), 2), "\n";
--EXPECT--
hello
