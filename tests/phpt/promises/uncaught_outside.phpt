--TEST--
An exception outside callbacks ends the script as usual, with status 255
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/child.inc';

$child = Child::code(<<<'PHP'
    $server = new Sprocket\Server('ws://127.0.0.1:0');
    $server->start();
    throw new Exception('outside');
    PHP);
echo $child->wait(), ' ', str_contains($child->output, 'Uncaught Exception: outside') ? 'reported' : $child->output, "\n";
--EXPECT--
255 reported
