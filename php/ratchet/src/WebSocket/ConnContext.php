<?php

declare(strict_types=1);

namespace Ratchet\WebSocket;

use Ratchet\Native\Link;
use Ratchet\RFC6455\Messaging\MessageBuffer;

/**
 * State that a WsServer keeps for a connection.
 */
class ConnContext
{
    /** @var WsConnection */
    public $connection;

    /** @var MessageBuffer|null Null where the native server parses frames. */
    public $buffer;

    /** @internal @var Link|null */
    public $link;

    public function __construct(WsConnection $conn, ?MessageBuffer $buffer = null, ?Link $link = null)
    {
        $this->connection = $conn;
        $this->buffer = $buffer;
        $this->link = $link;
    }
}
