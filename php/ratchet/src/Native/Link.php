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
 * First it stands for an HTTP request, whose raw response components write to it; from the 101
 * on for a WebSocket. Dynamic properties of applications live on this object: its own have names
 * that nobody else chooses.
 *
 * @internal
 */
final class Link extends IoConnection
{
    // Declared first, because `==` on two connections compares property by property, in this order:
    // they differ here already, behind `$conn`, which all links share.
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

    /** The socket, while a WebSocket is open. */
    public ?Connection $__native = null;

    /** The server that accepted the handshake. */
    public ?WsServer $__server = null;

    /** This link, or a component's wrapper around it: by what WsServer knows the connection. */
    public ?ConnectionInterface $__outer = null;

    /** What the application knows as its connection. */
    public ?WsConnection $__connection = null;

    /** Gets messages directly, where no component in between wants to see them. */
    public ?ComponentInterface $__direct = null;

    /** Whether the application got its connection before the 101. */
    public bool $__early = false;

    /** Whether it gets them as objects. */
    public bool $__objects = false;

    /** Whether the message that the components are working on is binary. */
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
     * The link at the bottom of a connection, whoever has wrapped it in what.
     */
    public static function within(ConnectionInterface $conn): ?self
    {
        for ($depth = 0; $conn !== null && !$conn instanceof self && $depth < 16; $depth++) {
            $conn = $conn instanceof AbstractConnectionDecorator ? self::wrapped($conn) : self::property($conn);
        }

        return $conn instanceof self ? $conn : null;
    }

    /**
     * Raw bytes, as components write them: an HTTP response before the 101, frames after it.
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

    private static function wrapped(AbstractConnectionDecorator $conn): ConnectionInterface
    {
        static $read = null;
        $read ??= \Closure::bind(static fn ($conn) => $conn->wrappedConn, null, AbstractConnectionDecorator::class);

        return $read($conn);
    }

    /**
     * What a wrapper that isn't one of our decorators wraps: it keeps it under some name.
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
