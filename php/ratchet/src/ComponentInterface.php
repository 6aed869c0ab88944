<?php

declare(strict_types=1);

namespace Ratchet;

/**
 * The callbacks of every component: the beginning and the end of its connections, and errors.
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
     * A connection has ended. Runs once, as the last callback of the connection.
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
