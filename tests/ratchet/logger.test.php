<?php

/**
 * Where the notices of the package and of the native server go.
 */

require __DIR__ . '/support/harness.php';

needs('logger');
if (original()) {
    skip('logger', 'Ratchet has no logger');
    finish();
}

/** The next line about an event: level, message, message of the exception. */
function lineAbout(ServerProcess $server, string $event): array
{
    do {
        [, $level, $message, $found, $exception] = $server->wait('log');
    } while ($found !== $event);

    return [$level, $message, $exception];
}

foreach (['psr', 'callable'] as $kind) {
    check("a logger ($kind) gets the notices of the package and of the native server", function () use ($kind) {
        $server = new ServerProcess('logger', [$kind]);
        same('logger', $server->wait('refused')[1]);
        [$level, $message] = lineAbout($server, 'server.started');
        same('info', $level);
        that(str_starts_with($message, 'Listening on '), $message);
        $client = Client::open($server->port);
        $client->text('longer than ten bytes');
        [$level, $message] = lineAbout($server, 'connection.closed');
        same('notice', $level);
        that(str_contains($message, 'closed with 1009'), $message);
        [$level, $message, $exception] = lineAbout($server, 'callback.failed');
        same(['error', 'Uncaught in onClose: LogicException: no closing today', 'no closing today'], [$level, $message, $exception]);
        $server->isRunning();
        same('', trim($server->stderr), 'standard error');
    });
}

foreach (['none' => '', 'throwing' => 'Sprocket: the logger failed: RuntimeException: the disk is full'] as $kind => $failure) {
    check("PHP's error log gets the notices of the package with the logger '$kind'", function () use ($kind, $failure) {
        $server = new ServerProcess('logger', [$kind], ['log_errors' => '1', 'error_log' => '']);
        $client = Client::open($server->port);
        $client->close();
        $end = microtime(true) + DEADLINE;
        $notice = 'Sprocket: uncaught in onClose: LogicException: no closing today';
        while ($server->isRunning() && !str_contains($server->stderr, $notice) && microtime(true) < $end) {
            $server->count('log', 0.05);
        }
        that(str_contains($server->stderr, $notice), "stderr: {$server->stderr}");
        that($failure === '' || str_contains($server->stderr, $failure), "stderr: {$server->stderr}");
        $client = Client::open($server->port);
        $client->text('alive');
        same('alive', $client->nextText());
    });
}

finish();
