<?php

/**
 * The drop-in as the Autobahn suite meets it: an echo of message objects through IoServer,
 * HttpServer and WsServer. Prints its address when it listens, as tests/conformance/echo.php does.
 */

require __DIR__ . '/support/autoload.php';

use Ratchet\ConnectionInterface;
use Ratchet\RFC6455\Messaging\MessageInterface;

class BinaryEcho implements Ratchet\WebSocket\MessageComponentInterface
{
    public function onOpen(ConnectionInterface $conn)
    {
    }

    public function onMessage(ConnectionInterface $conn, MessageInterface $msg)
    {
        $conn->send($msg);
    }

    public function onClose(ConnectionInterface $conn)
    {
    }

    public function onError(ConnectionInterface $conn, Exception $e)
    {
        fwrite(STDERR, "$e\n");
    }
}

$loop = loop();
$ws = new Ratchet\WebSocket\WsServer(new BinaryEcho());
$ws->enableKeepAlive($loop, 600);
$socket = listen('127.0.0.1:0', $loop);
$server = new Ratchet\Server\IoServer(new Ratchet\Http\HttpServer($ws), $socket, $loop);
echo 'ws://' . parse_url($socket->getAddress(), PHP_URL_HOST) . ':' . parse_url($socket->getAddress(), PHP_URL_PORT), "\n";
$server->run();
