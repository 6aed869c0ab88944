<?php

/**
 * The server of the benchmark: `server.php LAYER MODE`. LAYER is `native` (the extension's own API)
 * or `ratchet` (the Ratchet API: the drop-in, or the original by RATCHET_AUTOLOAD). MODE is `echo`
 * or `fanout`, where each message goes to every connection by a loop in PHP, as in Ratchet's chat.
 * Any other MODE means `echo`.
 */

require __DIR__ . '/../support/autoload.php';

use Ratchet\ConnectionInterface;

abstract class Application implements Ratchet\MessageComponentInterface
{
    protected SplObjectStorage $clients;

    public function __construct()
    {
        $this->clients = new SplObjectStorage();
    }

    public function onOpen(ConnectionInterface $conn)
    {
        $this->clients->attach($conn);
    }

    public function onClose(ConnectionInterface $conn)
    {
        $this->clients->detach($conn);
    }

    public function onError(ConnectionInterface $conn, Exception $e)
    {
        fwrite(STDERR, "$e\n");
        $conn->close();
    }
}

final class Echoing extends Application
{
    public function onMessage(ConnectionInterface $from, $msg)
    {
        $from->send($msg);
    }
}

final class Fanout extends Application
{
    public function onMessage(ConnectionInterface $from, $msg)
    {
        foreach ($this->clients as $client) {
            $client->send($msg);
        }
    }
}

[, $layer, $mode] = $argv;

if ($layer === 'native') {
    $server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(sendBufferLimit: 64 << 20));
    $clients = new SplObjectStorage();
    $server->onOpen(static fn (Sprocket\Connection $c) => $clients->attach($c));
    $server->onClose(static fn (Sprocket\Connection $c) => $clients->detach($c));
    $server->onMessage($mode !== 'fanout'
        ? static function (Sprocket\Connection $c, string $payload, bool $binary): void {
            $c->send($payload, $binary);
        }
        : static function (Sprocket\Connection $c, string $payload, bool $binary) use ($clients): void {
            foreach ($clients as $client) {
                $client->send($payload, $binary);
            }
        });
    $server->start();
    echo $server->addresses()[0], "/\n";
    $server->run();
    exit;
}

$loop = loop();
$socket = listen('127.0.0.1:0', $loop);
$application = $mode !== 'fanout' ? new Echoing() : new Fanout();
$server = new Ratchet\Server\IoServer(
    new Ratchet\Http\HttpServer(new Ratchet\WebSocket\WsServer($application)),
    $socket,
    $loop
);
echo 'ws://127.0.0.1:', parse_url($socket->getAddress(), PHP_URL_PORT), "/\n";
$server->run();
