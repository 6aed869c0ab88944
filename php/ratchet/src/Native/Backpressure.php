<?php

declare(strict_types=1);

namespace Ratchet\Native;

use Ratchet\ConnectionInterface;

/**
 * Tells a component how much data waits for a client, so that it sends no faster than the client reads.
 *
 * ```php
 * $next = function () use ($conn, $file, $loop, &$next): void {
 *     while (Backpressure::bufferedAmount($conn) < 1 << 20) {
 *         if (feof($file)) {
 *             $conn->close();
 *             return;
 *         }
 *         $conn->send(fread($file, 1 << 16));
 *     }
 *     $loop->addTimer(0.01, $next);
 * };
 * ```
 */
final class Backpressure
{
    /**
     * Bytes sent that the socket has not accepted yet; 0 after the end of the connection, and where
     * React serves it.
     */
    public static function bufferedAmount(ConnectionInterface $conn): int
    {
        $link = Link::within($conn);
        if ($link === null || $link->__ended) {
            return 0;
        }

        return $link->__native?->bufferedAmount()
            ?? $link->__exchange?->streamed?->stream->bufferedAmount()
            ?? strlen($link->__exchange->output ?? '');
    }
}
