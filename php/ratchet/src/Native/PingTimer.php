<?php

declare(strict_types=1);

namespace Ratchet\Native;

use Ratchet\RFC6455\Messaging\Frame;
use Ratchet\WebSocket\WsConnection;
use React\EventLoop\LoopInterface;
use React\EventLoop\TimerInterface;

/**
 * Pings connections from PHP that the native server does not ping, and closes each one whose peer has
 * not answered the previous ping.
 */
final class PingTimer
{
    /** @var \SplObjectStorage<WsConnection, null> Connections whose pong is outstanding. */
    private \SplObjectStorage $awaited;

    private ?TimerInterface $timer = null;

    /**
     * @param \Closure(): list<WsConnection> $connections Lists the connections to ping.
     */
    public function __construct(
        private readonly LoopInterface $loop,
        private readonly float $interval,
        private readonly \Closure $connections,
    ) {
        $this->awaited = new \SplObjectStorage();
    }

    public function start(): void
    {
        $this->timer ??= $this->loop->addPeriodicTimer($this->interval, function (): void {
            $this->round();
        });
    }

    public function forget(WsConnection $conn): void
    {
        unset($this->awaited[$conn]);
    }

    public function pong(WsConnection $conn): void
    {
        unset($this->awaited[$conn]);
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
        foreach (($this->connections)() as $conn) {
            if (isset($this->awaited[$conn])) {
                unset($this->awaited[$conn]);
                $conn->close();
            } else {
                $this->awaited[$conn] = null;
                $conn->send($ping);
            }
        }
    }
}
