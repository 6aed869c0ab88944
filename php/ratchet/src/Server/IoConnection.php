<?php

namespace Ratchet\Server;

use Ratchet\ConnectionInterface;
use React\Socket\ConnectionInterface as ReactConnection;

/**
 * The innermost connection, which holds the dynamic properties of all layers around it.
 *
 * Three of them are set beside the declared ones. They are not declared, so that a subclass may
 * declare its own.
 *
 * @property int    $remotePort   Port of the client; 0 on a Unix socket.
 * @property string $localAddress IP address that the client connected to; empty on a Unix socket.
 * @property int    $localPort    Port that the client connected to; 0 on a Unix socket.
 */
#[\AllowDynamicProperties]
class IoConnection implements ConnectionInterface
{
    // Declared first, because `==` on two connections compares property by property, in this
    // order: they differ here already, and nothing behind is ever compared.
    /** @var int|null */
    public $resourceId;

    /** @var string|null */
    public $remoteAddress;

    /** @var ReactConnection */
    protected $conn;

    public function __construct(ReactConnection $conn)
    {
        $this->conn = $conn;
    }

    public function send($data)
    {
        $this->conn->write($data);

        return $this;
    }

    public function close()
    {
        $this->conn->end();
    }
}
