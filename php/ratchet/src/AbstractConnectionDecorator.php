<?php

declare(strict_types=1);

namespace Ratchet;

/**
 * A connection around another one. Dynamic properties land on the innermost connection, so that
 * every layer sees what another one has set.
 */
abstract class AbstractConnectionDecorator implements ConnectionInterface
{
    /** @var ConnectionInterface */
    protected $wrappedConn;

    public function __construct(ConnectionInterface $conn)
    {
        $this->wrappedConn = $conn;
    }

    /**
     * @return ConnectionInterface The next connection inward.
     */
    protected function getConnection()
    {
        return $this->wrappedConn;
    }

    /**
     * @param string $name
     */
    public function __set($name, $value)
    {
        $this->wrappedConn->$name = $value;
    }

    /**
     * @param string $name
     */
    public function __get($name)
    {
        return $this->wrappedConn->$name;
    }

    /**
     * @param string $name
     */
    public function __isset($name)
    {
        return isset($this->wrappedConn->$name);
    }

    /**
     * @param string $name
     */
    public function __unset($name)
    {
        unset($this->wrappedConn->$name);
    }
}
