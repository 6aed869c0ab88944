<?php

declare(strict_types=1);

namespace Ratchet\Session\Storage;

use Ratchet\Session\Serialize\HandlerInterface;
use Ratchet\Session\Storage\Proxy\VirtualProxy;
use Symfony\Component\HttpFoundation\Session\Storage\NativeSessionStorage;
use Symfony\Component\HttpFoundation\Session\Storage\Proxy\AbstractProxy;

/**
 * A session of a connection: read from its handler when it starts, never written. Its
 * signatures are compatible with Symfony 5.4 to 8.
 */
class VirtualSessionStorage extends NativeSessionStorage
{
    /** @var HandlerInterface */
    protected $_serializer;

    /** The save handler of the parent class. */
    private VirtualProxy $proxy;

    /**
     * @param string $sessionId
     */
    public function __construct(\SessionHandlerInterface $handler, $sessionId, HandlerInterface $serializer)
    {
        // The parent's constructor would register PHP's own session.
        $this->setSaveHandler($handler);
        $this->proxy->setId($sessionId);
        $this->_serializer = $serializer;
        $this->setMetadataBag(null);
    }

    public function start(): bool
    {
        if ($this->started && !$this->closed) {
            return true;
        }
        // Handlers such as PdoSessionHandler connect in open(), not in their constructors.
        $this->proxy->open((string) session_save_path(), $this->proxy->getName());
        $data = $this->_serializer->unserialize((string) $this->proxy->read($this->proxy->getId()));
        $this->proxy->close();
        $this->loadSession($data);

        return true;
    }

    /**
     * The id belongs to the web application: it is not changed here.
     */
    public function regenerate($destroy = false, $lifetime = null): bool
    {
        return false;
    }

    /**
     * Closes the session without writing it: only the web application writes.
     */
    public function save(): void
    {
        $this->closed = true;
    }

    /**
     * @param AbstractProxy|\SessionHandlerInterface|null $saveHandler
     *
     * @throws \InvalidArgumentException If $saveHandler is not a session handler.
     */
    public function setSaveHandler($saveHandler = null): void
    {
        if (!$saveHandler instanceof \SessionHandlerInterface) {
            throw new \InvalidArgumentException('A virtual session needs a SessionHandlerInterface');
        }
        $this->saveHandler = $this->proxy = $saveHandler instanceof VirtualProxy ? $saveHandler : new VirtualProxy($saveHandler);
    }
}
