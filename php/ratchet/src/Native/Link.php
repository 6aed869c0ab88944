<?php

declare(strict_types=1);

namespace Ratchet\Native;

use Ratchet\AbstractConnectionDecorator;
use Ratchet\ComponentInterface;
use Ratchet\ConnectionInterface;
use Ratchet\RFC6455\Messaging\Frame;
use Ratchet\Server\IoConnection;
use Ratchet\Wamp\WampConnection;
use Ratchet\WebSocket\WsConnection;
use Ratchet\WebSocket\WsServer;
use Sprocket\Connection;

/**
 * The innermost connection where the native server holds the socket.
 *
 * It represents an HTTP request at first, to which components write a raw response, and a WebSocket from
 * the 101 on. Dynamic properties of applications are stored on this object, so the names of its own
 * properties begin with two underscores.
 *
 * @internal
 */
final class Link extends IoConnection
{
    // Declared first, because `==` on two connections compares their properties in this order: after `$conn`,
    // which all links share, the first one differs already.
    /** @var int */
    public $resourceId;

    /** @var string */
    public $remoteAddress;

    /** @var int */
    public $remotePort;

    /** @var string */
    public $localAddress;

    /** @var int */
    public $localPort;

    /** The request, until it is answered. */
    public ?Exchange $__exchange;

    /** The native connection while the WebSocket is open. */
    public ?Connection $__native = null;

    /** The server that accepted the handshake. */
    public ?WsServer $__server = null;

    /** The connection as WsServer knows it: this link, or a component's wrapper around it. */
    public ?ConnectionInterface $__outer = null;

    /** The connection that the application gets. */
    public ?WsConnection $__connection = null;

    /** The application, if no component in between handles messages: it gets them directly. */
    public ?ComponentInterface $__direct = null;

    /** Whether the application got its connection before the 101. */
    public bool $__early = false;

    /** Whether the application gets messages as objects. */
    public bool $__objects = false;

    /** Whether the message that is being delivered is binary. */
    public bool $__binary = false;

    /** Set as soon as onClose has run or is about to. */
    public bool $__ended = false;

    /** A frame that a component has begun to write. */
    private ?Frame $__frame = null;

    public function __construct(public readonly Engine $__engine, int $id, Exchange $exchange)
    {
        $this->conn = NoReactConnection::get();
        $this->resourceId = $id;
        $request = $exchange->request;
        $this->remoteAddress = $request->remoteAddress();
        $this->remotePort = $request->remotePort();
        $this->localAddress = $request->localAddress();
        $this->localPort = $request->localPort();
        $this->__exchange = $exchange;
    }

    /**
     * The link that a connection of an application stands for, if it is this package's own
     * connection, with no component's wrapper in between.
     */
    public static function of(ConnectionInterface $conn): ?self
    {
        while (in_array($conn::class, [WampConnection::class, WsConnection::class], true)) {
            $conn = self::wrapped($conn);
        }

        return $conn instanceof self ? $conn : null;
    }

    /**
     * The innermost connection if it is a link, behind any wrappers.
     */
    public static function within(ConnectionInterface $conn): ?self
    {
        for ($depth = 0; $conn !== null && !$conn instanceof self && $depth < 16; $depth++) {
            $conn = $conn instanceof AbstractConnectionDecorator ? self::wrapped($conn) : self::property($conn);
        }

        return $conn instanceof self ? $conn : null;
    }

    /**
     * Takes raw bytes of components: an HTTP response before the 101, frames after it.
     */
    public function send($data)
    {
        if ($this->__exchange !== null) {
            $this->__engine->write($this, (string) $data);
        } elseif ($this->__connection !== null) {
            $this->sendFrames((string) $data);
        }

        return $this;
    }

    public function close()
    {
        if ($this->__ended) {
            return;
        }
        if ($this->__exchange !== null) {
            $this->__engine->answer($this);
        } else {
            $this->__engine->close($this, 1000, '');
        }
    }

    /**
     * A component between WsServer and IoServer wraps the connection and writes frames to it.
     */
    private function sendFrames(string $data): void
    {
        while ($data !== '') {
            $this->__frame ??= new Frame();
            $this->__frame->addBuffer($data);
            if (!$this->__frame->isCoalesced()) {
                return;
            }
            $data = $this->__frame->extractOverflow();
            $this->__connection->sendNative($this->__frame, $this);
            $this->__frame = null;
        }
    }

    /**
     * The connection inside a decorator of this package. Does not call getConnection(), because a subclass may
     * override it.
     */
    private static function wrapped(AbstractConnectionDecorator $conn): ConnectionInterface
    {
        static $read = null;
        $read ??= \Closure::bind(static fn ($conn) => $conn->wrappedConn, null, AbstractConnectionDecorator::class);

        return $read($conn);
    }

    /**
     * The connection inside a wrapper that is not a decorator of this package: its first property that holds one.
     * Such a wrapper is a class of the application, and may name the property as it likes, so this depends on no
     * version of a library.
     */
    private static function property(ConnectionInterface $conn): ?ConnectionInterface
    {
        for ($class = new \ReflectionObject($conn); $class; $class = $class->getParentClass()) {
            foreach ($class->getProperties() as $property) {
                $value = !$property->isStatic() && $property->isInitialized($conn) ? $property->getValue($conn) : null;
                if ($value instanceof ConnectionInterface) {
                    return $value;
                }
            }
        }

        return null;
    }
}
