--TEST--
Messages published and sent in one callback arrive in the order of the calls
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onOpen(function ($c) use ($server) {
    $c->subscribe('t');
    $c->send('1');
    $server->publish('t', '2');
    $c->send('3');
    $server->broadcast('4');
    $c->unsubscribe('t');
    $server->publish('t', 'not to be seen');
    $c->send('5');
});
$server->start();
$client = Client::of($server)->open();
for ($i = 0; $i < 5; $i++) {
    echo $client->message();
}
--EXPECT--
12345
