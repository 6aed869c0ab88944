<?php

declare(strict_types=1);

namespace Ratchet\Http;

use Psr\Http\Message\RequestInterface;
use Ratchet\ConnectionInterface;

/**
 * Does nothing.
 */
class NoOpHttpServerController implements HttpServerInterface
{
    public function onOpen(ConnectionInterface $conn, ?RequestInterface $request = null)
    {
    }

    public function onMessage(ConnectionInterface $from, $msg)
    {
    }

    public function onClose(ConnectionInterface $conn)
    {
    }

    public function onError(ConnectionInterface $conn, \Exception $e)
    {
    }
}
