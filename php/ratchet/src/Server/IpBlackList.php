<?php

declare(strict_types=1);

namespace Ratchet\Server;

use Ratchet\ConnectionInterface;
use Ratchet\MessageComponentInterface;

/**
 * Refuses connections by the address of the peer. Belongs outside of HttpServer: a blocked peer
 * never reaches the components within.
 */
class IpBlackList implements MessageComponentInterface
{
    /** @var array<string, true> Blocked addresses as keys. */
    protected $_blacklist = [];

    /** @var MessageComponentInterface */
    protected $_decorating;

    public function __construct(MessageComponentInterface $component)
    {
        $this->_decorating = $component;
    }

    /**
     * Blocks an address. Connections that are open already stay.
     *
     * @param string $ip
     *
     * @return IpBlackList
     */
    public function blockAddress($ip)
    {
        $this->_blacklist[$ip] = true;

        return $this;
    }

    /**
     * Unblocks an address. Has no effect on an address that is not blocked.
     *
     * @param string $ip
     *
     * @return IpBlackList
     */
    public function unblockAddress($ip)
    {
        unset($this->_blacklist[$this->filterAddress($ip)]);

        return $this;
    }

    /**
     * @param string $address
     *
     * @return bool
     */
    public function isBlocked($address)
    {
        return isset($this->_blacklist[$this->filterAddress($address)]);
    }

    /**
     * @return string[]
     */
    public function getBlockedAddresses()
    {
        return array_map('strval', array_keys($this->_blacklist));
    }

    /**
     * An address without the port that may follow it. IPv6 addresses come without a port.
     *
     * @param string $address
     *
     * @return string
     */
    public function filterAddress($address)
    {
        return substr_count((string) $address, ':') === 1 ? explode(':', $address)[0] : $address;
    }

    public function onOpen(ConnectionInterface $conn)
    {
        return $this->isBlocked($conn->remoteAddress) ? $conn->close() : $this->_decorating->onOpen($conn);
    }

    public function onMessage(ConnectionInterface $from, $msg)
    {
        return $this->_decorating->onMessage($from, $msg);
    }

    public function onClose(ConnectionInterface $conn)
    {
        // The component never saw the connection of a blocked peer open.
        if (!$this->isBlocked($conn->remoteAddress)) {
            $this->_decorating->onClose($conn);
        }
    }

    public function onError(ConnectionInterface $conn, \Exception $e)
    {
        if (!$this->isBlocked($conn->remoteAddress)) {
            $this->_decorating->onError($conn, $e);
        }
    }
}
