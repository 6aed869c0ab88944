<?php
/**
 * The server that web requests push to. Each client gets what is published to its room.
 *
 *     php -d extension=sprocket examples/push-from-web/server.php [host:port] [socket]
 *
 * Then, from anywhere on this machine:
 *
 *     websocat 'ws://127.0.0.1:8080/?room=lobby'
 *     php -d extension=sprocket examples/push-from-web/push.php lobby hello
 */

declare(strict_types=1);

use Sprocket\{Connection, Options, Server};

$server = new Server('ws://' . ($argv[1] ?? '127.0.0.1:8080'), new Options(
    // Good for a trial. In earnest, a folder in /run that only those reach who may publish.
    publishSocket: $argv[2] ?? sys_get_temp_dir() . '/sprocket-push-' . get_current_user() . '.sock',
));

$server->onOpen(function (Connection $connection): void {
    $room = $connection->request->query()['room'] ?? 'lobby';
    if (!is_string($room) || !preg_match('/^\w{1,50}$/', $room)) {
        $connection->close(1008, 'a room is a word');
        return;
    }
    $connection->subscribe("room.$room");
    $connection->send("You are in $room");
});

$server->start();
echo "Listening on {$server->addresses()[0]}\n";
$server->run();
