--TEST--
resume() creates a subscription like any other
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

use Sprocket\{Connection, History, Options, Server};

$server = new Server('ws://127.0.0.1:0', new Options(history: ['room.*' => new History()]));
$resumed = 0;
$server->onOpen(fn (Connection $c) => $c->resume('room.1'));
$server->onResume(function (Connection $c) use (&$resumed): void {
    $resumed++;
    $c->data = 'a callback like the others';
});
$server->start();
$times = fn (int $n) => pump($server, fn (): bool => $GLOBALS['resumed'] === $n);
$client = Client::of($server)->open();
$times(1);
[$connection] = array_values($server->connections());
var_dump($connection->data, $connection->topics(), $server->subscriberCount('room.1'));
$connection->resume('room.1');
$times(2);
$server->publish('room.1', 'once');
echo $client->message(), ' ';
$connection->unsubscribe('room.1');
$server->publish('room.1', 'not this');
$connection->send('end');
echo $client->message(), "\n";
var_dump($connection->topics());

// Exceptions thrown in onResume go where those of all callbacks go.
$server->onError(fn (Throwable $e, ?Connection $c) => print($e->getMessage() . ' ' . ($c === $connection ? 'of it' : '') . "\n"));
$server->onResume(function () use (&$resumed): void {
    $resumed++;
    throw new Exception('thrown');
});
$connection->resume('room.1');
$times(3);
echo $server->stats()['callbacks']['resume']['calls'], " calls\n";
// resume() also works without onResume.
$server->onResume(null);
$connection->resume('room.2');
$server->publish('room.2', 'subscribed');
echo $client->message(), "\n";
--EXPECT--
string(26) "a callback like the others"
array(1) {
  [0]=>
  string(6) "room.1"
}
int(1)
once end
array(0) {
}
thrown of it
3 calls
subscribed
