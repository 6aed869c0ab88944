--TEST--
resume() accepts only topics with history
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

use Sprocket\{Connection, History, Options, Server};

$server = new Server('ws://127.0.0.1:0', new Options(history: ['room.*' => new History()]));
$server->onOpen(function (Connection $c): void {
    foreach (['news', 'room.*', 'room', '', "room.\xff", str_repeat('x', 256)] as $topic) {
        try {
            $c->resume($topic);
            echo "$topic is resumed\n";
        } catch (ValueError $e) {
            echo $e->getMessage(), "\n";
        }
    }
    var_dump($c->topics());
    // On a closed connection the call does nothing.
    $c->close();
    $c->resume('room.1');
    var_dump($c->topics());
});
$server->onResume(fn () => print("never\n"));
$server->start();
$client = Client::of($server)->open();
echo $client->closeCode(), "\n";
$client->sendClose()->ended();
pump($server, fn () => count($server) === 0);
--EXPECT--
Sprocket\Connection::resume(): Argument #1 ($topic) must be a topic that keeps a history
Sprocket\Connection::resume(): Argument #1 ($topic) must be a topic, not a pattern
Sprocket\Connection::resume(): Argument #1 ($topic) must be a topic that keeps a history
Sprocket\Connection::resume(): Argument #1 ($topic) must be 1 to 255 bytes long, 0 given
Sprocket\Connection::resume(): Argument #1 ($topic) must be valid UTF-8
Sprocket\Connection::resume(): Argument #1 ($topic) must be 1 to 255 bytes long, 256 given
array(0) {
}
array(0) {
}
1000
