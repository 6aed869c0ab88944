<?php
/**
 * The smallest server: it sends back what it receives.
 *
 *     php -d extension=sprocket examples/echo/server.php [host:port]
 *
 * Try it in the console of any page of the same host, or with a command-line client:
 *
 *     websocat ws://127.0.0.1:8080
 */

declare(strict_types=1);

use Sprocket\{Connection, Server};

$server = new Server('ws://' . ($argv[1] ?? '127.0.0.1:8080'));

$server->onMessage(function (Connection $connection, string $payload, bool $binary): void {
    $connection->send($payload, $binary);
});

$server->start();
echo "Listening on {$server->addresses()[0]}, Ctrl-C stops it.\n";
$server->run();
