<?php

namespace Ratchet\Native;

use Ratchet\ComponentInterface;
use Ratchet\Http\HttpServer;
use Sprocket\Options;

/**
 * Limits and timeouts of the native server below the Ratchet API.
 *
 * The defaults keep to what Ratchet does: no pings unless a WsServer asks for them, messages of
 * up to a quarter of the memory limit, a large send buffer, a minute for an answer. Bodies of plain requests
 * are admitted only where a component may take them, up to 1 MiB. `set()` changes any argument of
 * {@see Options} by its name, before the loop runs:
 *
 * ```php
 * Ratchet\Native\Settings::set(['maxMessageSize' => 65536, 'ioThreads' => 2]);
 * ```
 */
final class Settings
{
    /** The largest size that Options accept. */
    private const MAX_SIZE = 2147483647;

    /** Default of maxMessageSize without a memory_limit: a quarter of PHP's default of 128 MiB. */
    private const MESSAGE = 32 << 20;

    /** Default of maxBodySize where a component may take bodies. */
    private const BODY = 1 << 20;

    /** Default of sendBufferLimit, unless a quarter of memory_limit is more. */
    private const SEND_BUFFER = 16 << 20;

    /** @var array<string, mixed> */
    private static array $overrides = [];

    /**
     * Sets options of servers that start from now on; null as a value returns to the default.
     *
     * @param array<string, mixed> $options Arguments of {@see Options} by name.
     *
     * @throws \InvalidArgumentException For `workers`: the React loop drives the one process there is.
     * @throws \Sprocket\InvalidOption    If `logger` is not a logger: it may be used before a server starts.
     */
    public static function set(array $options): void
    {
        if (($options['workers'] ?? 1) !== 1) {
            throw new \InvalidArgumentException('The option workers is not available to Ratchet applications, whose React loop drives a single process');
        }
        if (isset($options['logger']) && class_exists(Options::class)) {
            new Options(logger: $options['logger']);
        }
        self::$overrides = array_filter($options + self::$overrides, static fn ($value) => $value !== null);
    }

    /**
     * The receiver of notices (the option `logger`), checked as {@see Options} checks it.
     *
     * @return object|callable|null
     */
    public static function logger(): mixed
    {
        return self::$overrides['logger'] ?? null;
    }

    /**
     * The limit for a message in bytes, on the native server and under React: as in Ratchet, a quarter of
     * memory_limit.
     */
    public static function maxMessageSize(): int
    {
        return self::$overrides['maxMessageSize'] ?? min(self::MAX_SIZE, MemoryLimit::quarter() ?? self::MESSAGE);
    }

    /**
     * The options of the server for one stack of components.
     *
     * @throws \Sprocket\InvalidOption
     */
    public static function options(ComponentInterface $app, HttpServer $http, Listener $listener, ?float $pingInterval): Options
    {
        $quarter = MemoryLimit::quarter();
        $defaults = [
            'maxMessageSize' => self::maxMessageSize(),
            'maxHeaderSize' => max(16384, min(1048576, ComponentTree::maxHeaderSize($http))),
            'maxBodySize' => ComponentTree::takesBodies($app) ? self::BODY : 0,
            // Ratchet sets no limit on the time that components take to answer a request.
            'handshakeTimeout' => 60.0,
            'pingInterval' => $pingInterval ?? 0.0,
            'pingTimeout' => $pingInterval ?? 20.0,
            // Ratchet does not wait for the peer's close frame at all; a browser answers at once.
            'closeTimeout' => 1.0,
            'sendBufferLimit' => max(self::SEND_BUFFER, min(self::MAX_SIZE, $quarter ?? 0)),
            // OriginCheck decides, where an application has one.
            'origins' => ['*'],
            'tls' => $listener->tls,
        ];

        return new Options(...(self::$overrides + $defaults));
    }
}
