<?php

namespace Ratchet\Native;

use React\EventLoop\LoopInterface;
use React\Socket\ServerInterface;

/**
 * The listening socket inside a React server, taken over from it: React no longer accepts on it,
 * but still owns it, so that `getAddress()` and `close()` of the application's object work.
 */
final class Listener
{
    private function __construct(
        /** @var resource|string What a native server can listen on: the socket, or an address. */
        public readonly mixed $endpoint,
        /** Whether React would speak TLS on it. */
        public readonly bool $secure,
        /** Connections at once, where a LimitingServer says so. */
        public readonly ?int $limit,
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
        $limit = null;
        $inner = $socket;
        while ($inner !== null && self::property($inner, 'master') === null) {
            $limit = self::property($inner, 'limit') ?? $limit;
            $secure = $secure || self::property($inner, 'tcp') !== null;
            $next = self::property($inner, 'tcp') ?? self::property($inner, 'server');
            $inner = $next instanceof ServerInterface ? $next : null;
        }
        $loop = $inner === null ? null : self::property($inner, 'loop');
        $endpoint = $inner === null ? self::address($socket) : self::property($inner, 'master');

        return new self(
            $endpoint,
            $secure || str_starts_with((string) $socket->getAddress(), 'tls://'),
            is_int($limit) ? $limit : null,
            $loop instanceof LoopInterface ? $loop : null,
        );
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
