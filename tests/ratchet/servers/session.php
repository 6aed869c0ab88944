<?php

/**
 * SessionProvider around an application that reports the contents of the session. Arguments: directory
 * with the sessions, serialize handler, options as JSON.
 */

require __DIR__ . '/../support/autoload.php';

use Ratchet\ConnectionInterface;

/** Reads the files that PHP's own session module writes. */
class Files implements SessionHandlerInterface
{
    public function __construct(private string $directory)
    {
    }

    public function open(string $path, string $name): bool
    {
        return true;
    }

    public function close(): bool
    {
        return true;
    }

    public function read(string $id): string|false
    {
        $file = "{$this->directory}/sess_$id";

        return is_file($file) ? file_get_contents($file) : '';
    }

    public function write(string $id, string $data): bool
    {
        tell('written');

        return true;
    }

    public function destroy(string $id): bool
    {
        tell('destroyed');

        return true;
    }

    public function gc(int $lifetime): int|false
    {
        return 0;
    }
}

class Member implements Ratchet\MessageComponentInterface
{
    public function onOpen(ConnectionInterface $conn)
    {
        $conn->send(json_encode([$conn->Session->get('name'), $conn->Session->get('list'), $conn->Session->getId()]));
    }

    public function onMessage(ConnectionInterface $from, $msg)
    {
        $from->Session->set('name', $msg);
        $from->Session->save();
        $from->send((string) $from->Session->get('name'));
    }

    public function onClose(ConnectionInterface $conn)
    {
    }

    public function onError(ConnectionInterface $conn, Exception $e)
    {
        tell('error', $e->getMessage());
        $conn->close();
    }
}

[, $directory, $handler, $options] = $argv;
$loop = loop();
$socket = listen('127.0.0.1:0', $loop);
$provider = new Ratchet\Session\SessionProvider(
    new Ratchet\WebSocket\WsServer(new Member()),
    new Files($directory),
    ['serialize_handler' => $handler] + json_decode($options, true)
);
$server = new Ratchet\Server\IoServer(new Ratchet\Http\HttpServer($provider), $socket, $loop);
ready($socket);
$server->run();
