<?php
/**
 * Ratchet on ReactPHP. Arguments: AUTOLOAD PORT echo|fan|chat. See bench/README.md.
 */
declare(strict_types=1);

// Ratchet was written for older versions of PHP.
error_reporting(E_ALL & ~E_DEPRECATED);

require __DIR__ . '/common.php';
require $argv[1];

use Ratchet\ConnectionInterface;
use Ratchet\Http\HttpServer;
use Ratchet\RFC6455\Messaging\MessageInterface;
use Ratchet\Server\IoServer;
use Ratchet\WebSocket\MessageComponentInterface;
use Ratchet\WebSocket\WsServer;

[$port, $mode] = port_and_mode($argv);

final class Application implements MessageComponentInterface
{
    public function __construct(private readonly Audience $audience)
    {
    }

    public function onOpen(ConnectionInterface $conn): void
    {
        $this->audience->open($conn->resourceId, $conn);
    }

    public function onMessage(ConnectionInterface $conn, MessageInterface $msg): void
    {
        $payload = $msg->getPayload();
        // A string is sent as text, and the message object keeps its type.
        $reply = $msg->isBinary() ? $msg : $payload;
        foreach ($this->audience->of($conn->resourceId, $payload) as $member) {
            $member->send($reply);
        }
    }

    public function onClose(ConnectionInterface $conn): void
    {
        $this->audience->close($conn->resourceId);
    }

    public function onError(ConnectionInterface $conn, Exception $e): void
    {
        fwrite(STDERR, "$e\n");
        $conn->close();
    }
}

$server = IoServer::factory(new HttpServer(new WsServer(new Application(new Audience($mode)))), $port, '127.0.0.1');
echo 'ready ', parse_url($server->socket->getAddress(), PHP_URL_PORT), "\n";
$server->run();
