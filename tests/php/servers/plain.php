<?php

declare(strict_types=1);

/** A server without onRequest and without onUpgrade that echoes. */

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onMessage(fn (Sprocket\Connection $c, string $payload, bool $binary) => $c->send($payload, $binary));
$server->start();
// From inside of run(), which takes SIGTERM over: whoever reads it may send one.
$server->after(0.0, function () use ($server): void {
    echo $server->addresses()[0], "\n";
});
$server->run();
