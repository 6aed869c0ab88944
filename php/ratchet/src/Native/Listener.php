<?php

namespace Ratchet\Native;

use React\EventLoop\LoopInterface;
use React\Socket\LimitingServer;
use React\Socket\ServerInterface;
use Sprocket\Tls;

/**
 * The listening socket inside a React server, taken over from it: React no longer accepts on it,
 * but still owns it, so that `getAddress()` and `close()` of the application's object work.
 */
final class Listener
{
    private function __construct(
        /** @var resource|string The socket, or an address. */
        private readonly mixed $endpoint,
        /** Whether React would speak TLS on it. */
        private readonly bool $secure,
        /** With what certificates the native server does so; null: it can't, or need not. */
        public readonly ?Tls $tls,
        /** Whether a LimitingServer counts the connections, lists them, and reports those that it refuses. */
        public readonly bool $counted,
        /** The loop that React's socket was made for. */
        public readonly ?LoopInterface $loop,
    ) {
    }

    /**
     * Looks into a React server without changing it.
     */
    public static function of(ServerInterface $socket): self
    {
        $secure = false;
        $tls = null;
        $counted = false;
        $inner = $socket;
        while ($inner !== null && self::property($inner, 'master') === null) {
            $counted = $counted || $inner instanceof LimitingServer;
            $next = self::property($inner, 'tcp');
            if ($next !== null) {
                $secure = true;
                $tls = TlsContext::tls((array) self::property($inner, 'context'));
            }
            $next ??= self::property($inner, 'server');
            $inner = $next instanceof ServerInterface ? $next : null;
        }
        $loop = $inner === null ? null : self::property($inner, 'loop');
        $endpoint = $inner === null ? self::address($socket) : self::property($inner, 'master');

        return new self(
            $endpoint,
            $secure || str_starts_with((string) $socket->getAddress(), 'tls://'),
            $tls,
            $counted,
            $loop instanceof LoopInterface ? $loop : null,
        );
    }

    /**
     * Whether the native server can speak on this socket as React would.
     */
    public function isNative(): bool
    {
        return !$this->counted && (!$this->secure || ($this->tls !== null && is_resource($this->endpoint)));
    }

    /**
     * What the native server listens on.
     *
     * @return resource|string|array
     */
    public function endpoint(): mixed
    {
        return $this->tls === null ? $this->endpoint : [[$this->endpoint, 'tls']];
    }

    /**
     * Whether the application has closed its socket since.
     */
    public function isClosed(): bool
    {
        return !is_string($this->endpoint) && !is_resource($this->endpoint);
    }

    /**
     * The address of a server whose class is unknown, as the native server writes it.
     */
    private static function address(ServerInterface $socket): string
    {
        return preg_replace('~^(tcp|tls)://~', 'ws://', (string) $socket->getAddress());
    }

    /**
     * React has no accessor for these.
     */
    private static function property(object $object, string $name): mixed
    {
        for ($class = new \ReflectionObject($object); $class; $class = $class->getParentClass()) {
            if ($class->hasProperty($name)) {
                $property = $class->getProperty($name);

                return $property->isInitialized($object) ? $property->getValue($object) : null;
            }
        }

        return null;
    }
}
