--TEST--
An exception in a timer goes to onError, and a repeating timer continues
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$errors = 0;
$server->onError(function (Throwable $e, $connection) use (&$errors) {
    if (++$errors < 3) {
        echo $e->getMessage(), ' ', var_export($connection, true), "\n";
    }
});
$server->start();
$server->every(0.005, fn () => throw new Exception('tick'));
pump($server, function () use (&$errors) { return $errors >= 2; });
--EXPECT--
tick NULL
tick NULL
