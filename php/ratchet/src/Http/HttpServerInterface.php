<?php

declare(strict_types=1);

namespace Ratchet\Http;

use Psr\Http\Message\RequestInterface;
use Ratchet\ConnectionInterface;
use Ratchet\MessageComponentInterface;

/**
 * A component that receives HTTP requests. It answers with a raw response and closes, or passes the request on.
 */
interface HttpServerInterface extends MessageComponentInterface
{
    /**
     * A request arrived. It is never null; the default only satisfies the inherited signature.
     *
     * @throws \UnexpectedValueException If there is no request.
     */
    public function onOpen(ConnectionInterface $conn, ?RequestInterface $request = null);
}
