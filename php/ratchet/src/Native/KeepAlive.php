<?php

declare(strict_types=1);

namespace Ratchet\Native;

use React\EventLoop\LoopInterface;

/**
 * Intervals of pings by loop. The native server sends the pings, and needs the interval when it starts,
 * on the first turn of the loop.
 */
final class KeepAlive
{
    /** Range of the option pingInterval, in seconds. */
    private const SHORTEST = 0.001;
    private const LONGEST = 86400.0;

    /** @var \WeakMap<LoopInterface, float>|null */
    private static ?\WeakMap $intervals = null;

    /** @var \WeakMap<LoopInterface, true>|null */
    private static ?\WeakMap $started = null;

    /**
     * Requests pings on all servers of a loop; the shortest interval counts.
     *
     * @return bool False if a server of this loop has started already: ping from PHP.
     */
    public static function request(LoopInterface $loop, float $interval): bool
    {
        if (isset(self::$started[$loop])) {
            return false;
        }
        $interval = min(self::LONGEST, max(self::SHORTEST, $interval));
        self::$intervals ??= new \WeakMap();
        self::$intervals[$loop] = min($interval, self::$intervals[$loop] ?? $interval);

        return true;
    }

    /**
     * The interval requested for a server that starts now; null if there is none.
     */
    public static function take(LoopInterface $loop): ?float
    {
        self::$started ??= new \WeakMap();
        self::$started[$loop] = true;

        return self::$intervals[$loop] ?? null;
    }
}
