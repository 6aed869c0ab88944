--TEST--
onError gets the exception and the connection, and the connection stays open
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onError(function (Throwable $e, ?Sprocket\Connection $c) {
    echo get_class($e), ': ', $e->getMessage(), "\n";
    $c->send('sorry');
});
$server->onMessage(function ($c, $m) {
    match ($m) {
        'exception' => throw new DomainException('thrown'),
        'error' => no_such_function(),
    };
});
$server->start();
$client = Client::of($server)->open();
echo $client->send('exception')->message(), "\n";
echo $client->send('error')->message(), "\n";
echo $client->send('unmatched')->message(), "\n";
var_dump($client->close());
--EXPECT--
DomainException: thrown
sorry
Error: Call to undefined function no_such_function()
sorry
UnhandledMatchError: Unhandled match case 'unmatched'
sorry
string(4) "1000"
