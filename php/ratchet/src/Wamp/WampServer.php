<?php

declare(strict_types=1);

namespace Ratchet\Wamp;

use Ratchet\ConnectionInterface;
use Ratchet\MessageComponentInterface;
use Ratchet\RFC6455\Messaging\Frame;
use Ratchet\WebSocket\WsServerInterface;

/**
 * WAMP version 1 with topics as objects. A client that breaks the rules is closed with 1007.
 */
class WampServer implements MessageComponentInterface, WsServerInterface
{
    /** @var ServerProtocol */
    protected $wampProtocol;

    public function __construct(WampServerInterface $app)
    {
        $this->wampProtocol = new ServerProtocol(new TopicManager($app));
    }

    public function onOpen(ConnectionInterface $conn)
    {
        $this->wampProtocol->onOpen($conn);
    }

    public function onMessage(ConnectionInterface $conn, $msg)
    {
        try {
            $this->wampProtocol->onMessage($conn, $msg);
        } catch (Exception) {
            $conn->close(Frame::CLOSE_BAD_PAYLOAD);
        }
    }

    public function onClose(ConnectionInterface $conn)
    {
        $this->wampProtocol->onClose($conn);
    }

    public function onError(ConnectionInterface $conn, \Exception $e)
    {
        $this->wampProtocol->onError($conn, $e);
    }

    public function getSubProtocols()
    {
        return $this->wampProtocol->getSubProtocols();
    }
}
