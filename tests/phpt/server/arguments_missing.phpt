--TEST--
Too few and too many arguments are errors
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

echo thrown(fn () => new Sprocket\Server()), "\n";
$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->start();
echo thrown(fn () => $server->connection()), "\n";
echo thrown(fn () => $server->count(1)), "\n";
echo thrown(fn () => $server->start(1)), "\n";
echo thrown(fn () => new Sprocket\Server('ws://127.0.0.1:0', 'options')), "\n";
echo thrown(fn () => new Sprocket\Server('ws://127.0.0.1:0', nonsense: 1)), "\n";
--EXPECT--
ArgumentCountError
ArgumentCountError
ArgumentCountError
ArgumentCountError
TypeError
Error
