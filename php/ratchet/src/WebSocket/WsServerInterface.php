<?php

declare(strict_types=1);

namespace Ratchet\WebSocket;

/**
 * An application that speaks subprotocols.
 */
interface WsServerInterface
{
    /**
     * @return string[] Names for Sec-WebSocket-Protocol.
     */
    public function getSubProtocols();
}
