<?php

declare(strict_types=1);

namespace Ratchet;

/**
 * What every component of a server is told: the life of its connections.
 *
 * Parameters and results carry no further types, because applications implement them untyped.
 */
interface ComponentInterface
{
    /**
     * A connection is open.
     *
     * @throws \Exception
     */
    public function onOpen(ConnectionInterface $conn);

    /**
     * A connection is over: told once, and nothing after it.
     *
     * @throws \Exception
     */
    public function onClose(ConnectionInterface $conn);

    /**
     * Another callback threw. The connection stays open unless the component closes it.
     *
     * @throws \Exception
     */
    public function onError(ConnectionInterface $conn, \Exception $e);
}
