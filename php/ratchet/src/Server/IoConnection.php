<?php

declare(strict_types=1);

namespace Ratchet\Server;

use Ratchet\ConnectionInterface;
use React\Socket\ConnectionInterface as ReactConnection;

/**
 * The innermost connection, which holds the dynamic properties of all layers around it.
 *
 * The properties that the server sets are not declared, so that a subclass may declare them with types.
 *
 * @property int    $resourceId    Number of the connection.
 * @property string $remoteAddress IP address of the client.
 * @property int    $remotePort   Port of the client; 0 on a Unix socket.
 * @property string $localAddress IP address that the client connected to; empty on a Unix socket.
 * @property int    $localPort    Port that the client connected to; 0 on a Unix socket.
 */
#[\AllowDynamicProperties]
class IoConnection implements ConnectionInterface
{
    /** @var ReactConnection|\Ratchet\Native\NoReactConnection The latter where the native server holds the socket. */
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
