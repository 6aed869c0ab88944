--TEST--
Replacing a callback releases the old one
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

class Witness { public function __destruct() { echo "released\n"; } }
$server = new Sprocket\Server('ws://127.0.0.1:0');
$witness = new Witness;
$server->onOpen(function () use ($witness) {});
unset($witness);
echo "set\n";
$server->onOpen(null);
echo "removed\n";
--EXPECT--
set
released
removed
