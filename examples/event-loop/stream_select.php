<?php
/**
 * A server inside a loop of your own, with stream_select().
 *
 *     php -d extension=sprocket examples/event-loop/stream_select.php [host:port]
 *
 * Each line typed into the terminal is sent to all connections.
 */

declare(strict_types=1);

use Sprocket\{Connection, Server};

$server = new Server('ws://' . ($argv[1] ?? '127.0.0.1:8080'));
$server->onMessage(function (Connection $connection, string $payload): void {
    echo "#$connection->id says: $payload\n";
    $connection->send("You said: $payload");
});
$server->start();
echo "Listening on {$server->addresses()[0]}. Type a line to send it, Ctrl-D to stop.\n";

$events = $server->stream();
while (true) {
    $read = [STDIN, $events];
    $write = $except = null;
    if (@stream_select($read, $write, $except, 60) === false) {
        break; // a signal
    }
    if (in_array($events, $read, true)) {
        $server->poll();
    }
    if (in_array(STDIN, $read, true)) {
        $line = fgets(STDIN);
        if ($line === false) {
            break;
        }
        foreach ($server->connections() as $connection) {
            $connection->send(rtrim($line, "\n"));
        }
    }
}
$server->stop();
while ($server->isRunning()) {
    $server->poll(0.1); // until all have said goodbye
}
