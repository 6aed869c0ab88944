<?php

namespace Ratchet\Native;

use Ratchet\RFC6455\Messaging\Frame;
use Ratchet\WebSocket\WsConnection;
use React\EventLoop\LoopInterface;
use React\EventLoop\TimerInterface;

/**
 * Pings from PHP, for connections that the native server does not ping: a peer that has not
 * answered the last ping when the next one is due is gone.
 */
final class PingTimer
{
    /** @var \SplObjectStorage<WsConnection, bool> Whether a pong is awaited. */
    private \SplObjectStorage $watched;

    private ?TimerInterface $timer = null;

    public function __construct(private readonly LoopInterface $loop, private readonly float $interval)
    {
        $this->watched = new \SplObjectStorage();
    }

    public function watch(WsConnection $conn): void
    {
        $this->watched[$conn] = false;
        $this->timer ??= $this->loop->addPeriodicTimer($this->interval, function (): void {
            $this->round();
        });
    }

    public function forget(WsConnection $conn): void
    {
        unset($this->watched[$conn]);
    }

    public function pong(WsConnection $conn): void
    {
        if (isset($this->watched[$conn])) {
            $this->watched[$conn] = false;
        }
    }

    public function cancel(): void
    {
        if ($this->timer !== null) {
            $this->loop->cancelTimer($this->timer);
            $this->timer = null;
        }
    }

    private function round(): void
    {
        $ping = new Frame(uniqid(), true, Frame::OP_PING);
        // Closing a connection changes the storage.
        foreach (iterator_to_array($this->watched, false) as $conn) {
            if ($this->watched[$conn]) {
                unset($this->watched[$conn]);
                $conn->close();
            } else {
                $this->watched[$conn] = true;
                $conn->send($ping);
            }
        }
    }
}
