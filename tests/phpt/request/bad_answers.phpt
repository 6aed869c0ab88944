--TEST--
Any result of onRequest other than a Response is an error, and the client gets a 500 that reveals nothing
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onError(function (Throwable $e, $c) { echo get_class($e), "\n"; });
$server->start();
foreach ([fn () => null, fn () => 'text', fn () => [], fn () => new stdClass, fn () => throw new Exception('the secret')] as $handler) {
    $server->onRequest($handler);
    $r = Client::of($server)->raw("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")->response();
    echo $r->status, str_contains($r->body, 'secret') ? ' leaks' : '', "\n";
}
--EXPECT--
TypeError
500
TypeError
500
TypeError
500
TypeError
500
Exception
500
