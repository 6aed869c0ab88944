--TEST--
After close() send() and ping() return false, and nothing follows the close frame
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onOpen(function ($c) {
    $c->send('before');
    $c->close(4000, 'enough');
    var_dump($c->isOpen(), $c->send('after'), $c->send('after', true), $c->ping());
    echo thrown(fn () => $c->send("\xff")), "\n";
});
$server->start();
$client = Client::of($server)->open();
echo $client->message(), ' ', $client->closeCode(), "\n";
$client->sendClose(4000)->ended();
var_dump($client->buffer);
--EXPECTF--
bool(false)
bool(false)
bool(false)
bool(false)
%s
before 4000 enough
string(0) ""
