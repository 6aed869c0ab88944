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
 * Loops and sockets, made the way that the installed versions of React make them.
 */
final class Sockets
{
    /**
     * Listens the way that the installed version of react/socket does.
     */
    public static function listen(string $uri, array $context, LoopInterface $loop): ServerInterface
    {
        return class_exists(SocketServer::class)
            ? new SocketServer($uri, $context, $loop)
            : new LegacySocketServer($uri, $loop, $context);
    }

    /**
     * A loop of its own, as Ratchet makes it; `Loop::get()` returns it from then on.
     */
    public static function loop(): LoopInterface
    {
        return class_exists(Factory::class) ? Factory::create() : Loop::get();
    }
}
