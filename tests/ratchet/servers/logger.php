<?php

/**
 * A server whose notices go to a logger. The argument says which kind, or none.
 */

require __DIR__ . '/../support/autoload.php';

use Ratchet\ConnectionInterface;
use Ratchet\Http\HttpServer;
use Ratchet\Native\Settings;
use Ratchet\Server\IoServer;
use Ratchet\WebSocket\WsServer;

final class PsrLogger
{
    public function log($level, string|Stringable $message, array $context = []): void
    {
        $exception = $context['exception'] ?? null;
        tell('log', $level, (string) $message, $context['event'], $exception?->getMessage());
    }
}

class Application implements Ratchet\MessageComponentInterface
{
    public function onOpen(ConnectionInterface $conn)
    {
    }

    public function onMessage(ConnectionInterface $from, $msg)
    {
        $from->send($msg);
    }

    public function onClose(ConnectionInterface $conn)
    {
        throw new LogicException('no closing today');
    }

    public function onError(ConnectionInterface $conn, Exception $e)
    {
    }
}

try {
    Settings::set(['logger' => 5]);
} catch (Sprocket\InvalidOption $e) {
    tell('refused', $e->option);
}
$psr = new PsrLogger();
Settings::set(['maxMessageSize' => 10, 'logger' => match ($argv[1]) {
    'psr' => $psr,
    'callable' => fn (string $level, string $message, array $context) => $psr->log($level, $message, $context),
    'throwing' => fn () => throw new RuntimeException('the disk is full'),
    default => null,
}]);
$loop = loop();
$socket = listen('127.0.0.1:0', $loop);
$server = new IoServer(new HttpServer(new WsServer(new Application())), $socket, $loop);
ready($socket);
$server->run();
