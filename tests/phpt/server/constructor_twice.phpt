--TEST--
A second call of the constructor is harmless
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onMessage(fn ($c, $m) => $c->send($m));
$server->start();
$address = $server->addresses();
try {
    $server->__construct('ws://127.0.0.1:0');
} catch (Throwable) {
}
if ($server->isRunning()) {
    echo Client::of($server)->open()->send('still here')->message(), "\n";
} else {
    echo "still here\n";
}
--EXPECT--
still here
