<?php

declare(strict_types=1);

namespace Ratchet\WebSocket;

use Ratchet\ConnectionInterface;
use Ratchet\RFC6455\Messaging\MessageInterface;

/**
 * A component that receives messages as objects, which know whether they are binary.
 */
interface MessageCallableInterface
{
    public function onMessage(ConnectionInterface $conn, MessageInterface $msg);
}
