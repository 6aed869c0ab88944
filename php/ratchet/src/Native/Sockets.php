<?php

declare(strict_types=1);

namespace Ratchet\Native;

use React\EventLoop\Factory;
use React\EventLoop\Loop;
use React\EventLoop\LoopInterface;
use React\Socket\Server as LegacySocketServer;
use React\Socket\ServerInterface;
use React\Socket\SocketServer;

/**
 * Creates loops and sockets by the API of the installed versions of React.
 */
final class Sockets
{
    /**
     * A socket that listens.
     */
    public static function listen(string $uri, array $context, LoopInterface $loop): ServerInterface
    {
        return class_exists(SocketServer::class)
            ? new SocketServer($uri, $context, $loop)
            : new LegacySocketServer($uri, $loop, $context);
    }

    /**
     * A new loop, as Ratchet creates it; `Loop::get()` returns it from then on.
     */
    public static function loop(): LoopInterface
    {
        return class_exists(Factory::class) ? Factory::create() : Loop::get();
    }
}
