--TEST--
var_dump() accepts a server
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onOpen(fn () => 1);
$server->start();
ob_start();
var_dump($server);
print_r($server);
var_export($server);
$text = ob_get_clean();
var_dump(str_contains($text, "Sprocket\\Server"));
--EXPECT--
bool(true)
