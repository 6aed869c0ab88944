<?php

declare(strict_types=1);

/** An echo server without onRequest and onUpgrade. */

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onMessage(fn (Sprocket\Connection $c, string $payload, bool $binary) => $c->send($payload, $binary));
$server->start();
// The address is printed inside run(), which has installed the SIGTERM handler by then.
$server->after(0.0, function () use ($server): void {
    echo $server->addresses()[0], "\n";
});
$server->run();
