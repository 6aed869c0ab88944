<?php

namespace Ratchet\Native;

use Ratchet\Http\HttpServer;
use Sprocket\Options;

/**
 * Limits and timeouts of the native server below the Ratchet API.
 *
 * The defaults keep to what Ratchet does: no pings unless a WsServer asks for them, messages as
 * large as the memory limit bears, a wide send buffer, a minute for an answer. `set()` changes any argument of
 * {@see Options} by its name, before the loop runs:
 *
 * ```php
 * Ratchet\Native\Settings::set(['maxMessageSize' => 65536, 'ioThreads' => 2]);
 * ```
 */
final class Settings
{
    /** Sizes that Options can express. */
    private const MAX_SIZE = 2147483647;

    /** What one message may be where memory_limit sets no bounds. */
    private const UNLIMITED = 1 << 28;

    /** @var array<string, mixed> */
    private static array $overrides = [];

    /**
     * Sets options of servers that start from now on; null as a value returns to the default.
     *
     * @param array<string, mixed> $options Arguments of {@see Options} by name.
     *
     * @throws \InvalidArgumentException For `workers`: the React loop drives the one process there is.
     * @throws \Sprocket\InvalidOption    For a `logger` that is none: notices may come before a server starts.
     */
    public static function set(array $options): void
    {
        if (($options['workers'] ?? 1) !== 1) {
            throw new \InvalidArgumentException('Option workers is not for Ratchet applications: their React loop drives one process');
        }
        if (isset($options['logger'])) {
            new Options(logger: $options['logger']);
        }
        self::$overrides = array_filter($options + self::$overrides, static fn ($value) => $value !== null);
    }

    /**
     * What notices go to: the option `logger`, checked as {@see Options} checks it.
     *
     * @return object|callable|null
     */
    public static function logger(): mixed
    {
        return self::$overrides['logger'] ?? null;
    }

    /**
     * The options of one server.
     *
     * @throws \Sprocket\InvalidOption
     */
    public static function options(HttpServer $http, Listener $listener, ?float $pingInterval): Options
    {
        $memory = min(self::MAX_SIZE, MemoryLimit::quarter() ?? self::UNLIMITED);
        $defaults = [
            'maxConnections' => $listener->limit,
            'maxMessageSize' => $memory,
            'maxHeaderSize' => max(16384, min(1048576, ComponentTree::maxHeaderSize($http))),
            'maxBodySize' => $memory,
            // Ratchet's components may answer a request whenever they like.
            'handshakeTimeout' => 60.0,
            'pingInterval' => $pingInterval ?? 0.0,
            'pingTimeout' => $pingInterval ?? 20.0,
            // Ratchet does not wait for the peer's close frame at all; a browser answers at once.
            'closeTimeout' => 1.0,
            'sendBufferLimit' => max(16 << 20, $memory),
            // OriginCheck decides, where an application has one.
            'origins' => ['*'],
            'tls' => $listener->tls,
        ];

        return new Options(...(self::$overrides + $defaults));
    }
}
