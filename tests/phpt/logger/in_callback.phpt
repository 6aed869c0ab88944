--TEST--
A logger may call the server, and runs between two callbacks, never inside one
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/logger.inc';

use Sprocket\{Connection, Options, Server};

$inside = false;
$seen = [];
$server = new Server('ws://127.0.0.1:0', new Options(maxMessageSize: 10, logger: function (string $level, string $message, array $context) use (&$server, &$inside, &$seen): void {
    $seen[] = $context['event'] . ($inside ? ' nested' : '');
    $server->broadcast($context['event']);
    if ($context['event'] === 'server.started') {
        echo thrown(fn () => $server->poll(), 'must not be called while a callback'), "\n";
    }
}));
$server->onMessage(function (Connection $c, string $payload) use (&$server, &$inside): void {
    $inside = true;
    $server->broadcast('inside');
    $server->stop(1.0);
    $inside = false;
});
$server->start();
$one = Client::of($server)->open();
$two = Client::of($server)->open();
$two->send('too long for this server');
echo $one->message(), "\n";
$one->send('stop');
echo $one->message(), ' ', $one->closeCode(), "\n";
$one->sendClose(1001);
pump($server, fn () => !$server->isRunning());
echo implode(', ', $seen), "\n";
--EXPECT--
Sprocket\StateException
connection.closed
inside 1001 the server is shutting down
server.started, connection.closed, server.stopping, server.stopped
