<?php

declare(strict_types=1);

namespace Ratchet\Native;

use Ratchet\ConnectionInterface;
use Ratchet\Wamp\WampConnection;
use Sprocket\Connection;
use Sprocket\Server;

/**
 * A topic of the native server that mirrors the subscribers of a topic in PHP, as long as all of
 * them are plain connections of one native server.
 */
final class Channel
{
    private static int $last = 0;

    /** Name of the native topic, which only this class uses. */
    private readonly string $name;

    /** @var \SplObjectStorage<ConnectionInterface, Connection|null> The native connection of each member; null if it has none. */
    private \SplObjectStorage $members;

    private ?Server $server = null;

    /** Members that the native topic can't reach. */
    private int $foreign = 0;

    public function __construct()
    {
        $this->name = 'ratchet/' . ++self::$last;
        $this->members = new \SplObjectStorage();
    }

    public function add(ConnectionInterface $conn): void
    {
        $link = $conn::class === WampConnection::class ? Link::of($conn) : null;
        $server = $link?->__engine->server();
        $native = $link?->__native;
        if ($native === null || ($this->server ?? $server) !== $server) {
            $native = null;
            $this->foreign++;
        } else {
            $this->server = $server;
            $native->subscribe($this->name);
        }
        $this->members[$conn] = $native;
    }

    public function remove(ConnectionInterface $conn): void
    {
        $native = $this->members[$conn];
        unset($this->members[$conn]);
        if ($native === null) {
            $this->foreign--;
        } elseif ($native->isOpen()) {
            $native->unsubscribe($this->name);
        }
        if (count($this->members) === 0) {
            $this->server = null;
        }
    }

    /**
     * Sends text to all members but the excluded ones.
     *
     * @param ConnectionInterface[] $excluded
     *
     * @return bool False if the native topic does not reach all of them: PHP must send to each member.
     */
    public function publish(string $payload, array $excluded): bool
    {
        if ($this->server === null || $this->foreign > 0 || count($excluded) > 1) {
            return false;
        }
        $this->server->publish($this->name, $payload, false, $excluded === [] ? null : $this->members[$excluded[0]]);

        return true;
    }
}
