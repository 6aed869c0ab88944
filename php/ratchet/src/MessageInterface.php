<?php

declare(strict_types=1);

namespace Ratchet;

/**
 * A component that receives data.
 */
interface MessageInterface
{
    /**
     * Data arrived: a whole message of a WebSocket, or a chunk of a raw connection.
     *
     * @param string $msg
     *
     * @throws \Exception
     */
    public function onMessage(ConnectionInterface $from, $msg);
}
