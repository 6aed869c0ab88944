--TEST--
A warning that an error handler turns into an exception goes to onError
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

set_error_handler(fn ($level, $message) => throw new ErrorException($message));
$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onMessage(function ($c) { echo $undefined; });
$server->onError(function (Throwable $e, $c) { echo get_class($e), "\n"; $c->send('go on'); });
$server->start();
echo Client::of($server)->open()->send('hello')->message(), "\n";
--EXPECT--
ErrorException
go on
