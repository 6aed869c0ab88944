--TEST--
A server refuses dynamic properties
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
foreach (['nonsense', 'options', 'id'] as $name) {
    echo thrown(function () use ($server, $name) { $server->$name = 1; }), "\n";
}
--EXPECT--
Error
Error
Error
