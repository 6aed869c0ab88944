<?php

declare(strict_types=1);

/**
 * A server with all callbacks, whose PHP code sleeps on the message "sleep SECONDS". The first argument
 * is JSON with "listen" and "options". It prints its address.
 */

use Sprocket\{Connection, Options, Request, Response, Server, Tls};

$settings = json_decode($argv[1], true, flags: JSON_THROW_ON_ERROR);
$options = $settings['options'];
if (isset($options['tls'])) {
    $options['tls'] = new Tls(...$options['tls']);
}
$server = new Server($settings['listen'], new Options(...$options));
$server->onMessage(function (Connection $connection, string $payload): void {
    if (str_starts_with($payload, 'sleep ')) {
        usleep((int) (substr($payload, 6) * 1e6));
        $connection->send('awake');
    }
});
$server->onPong(function (): void {
});
$server->onRequest(fn (Request $request): Response => new Response(200, (string) strlen($request->body())));
$server->start();
echo $server->addresses()[0], "\n";
$server->run();
