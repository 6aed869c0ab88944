<?php

declare(strict_types=1);

namespace Ratchet\Wamp;

use Ratchet\ConnectionInterface;
use Ratchet\Native\Channel;

/**
 * A topic and its subscribers. An event is encoded once, and where all subscribers are on one
 * native server it is fanned out there, without a loop in PHP.
 */
class Topic implements \IteratorAggregate, \Countable
{
    /** @var string */
    private $id;

    /** @var \SplObjectStorage<ConnectionInterface, string|null> Session ids of the subscribers. */
    private $subscribers;

    /** @var array<string, ConnectionInterface> Subscribers by session id. */
    private $sessions = [];

    /** @var Channel */
    private $channel;

    /**
     * @param string $topicId
     */
    public function __construct($topicId)
    {
        $this->id = $topicId;
        $this->subscribers = new \SplObjectStorage();
        $this->channel = new Channel();
    }

    /**
     * @return string
     */
    public function getId()
    {
        return $this->id;
    }

    public function __toString(): string
    {
        return (string) $this->id;
    }

    /**
     * Sends an event to the subscribers.
     *
     * @param mixed    $msg      Any value that json_encode() accepts.
     * @param string[] $exclude  Session ids that do not receive it.
     * @param string[] $eligible The only session ids that receive it; empty: all.
     *
     * @return Topic
     */
    public function broadcast($msg, array $exclude = [], array $eligible = [])
    {
        $payload = json_encode([ServerProtocol::MSG_EVENT, (string) $this->id, $msg]);
        $excluded = [];
        foreach ($exclude as $session) {
            if (isset($this->sessions[$session])) {
                $excluded[] = $this->sessions[$session];
            }
        }
        if ($eligible === [] && is_string($payload) && $this->channel->publish($payload, $excluded)) {
            return $this;
        }
        foreach ($this->recipients($exclude, $eligible) as $client) {
            $client instanceof WampConnection ? $client->send($payload) : $client->event($this->id, $msg);
        }

        return $this;
    }

    /**
     * @return bool
     */
    public function has(ConnectionInterface $conn)
    {
        return isset($this->subscribers[$conn]);
    }

    /**
     * @return Topic
     */
    public function add(ConnectionInterface $conn)
    {
        if (!isset($this->subscribers[$conn])) {
            $session = isset($conn->WAMP->sessionId) ? (string) $conn->WAMP->sessionId : null;
            $this->subscribers[$conn] = $session;
            if ($session !== null) {
                $this->sessions[$session] = $conn;
            }
            $this->channel->add($conn);
        }

        return $this;
    }

    /**
     * @return Topic
     */
    public function remove(ConnectionInterface $conn)
    {
        if (isset($this->subscribers[$conn])) {
            unset($this->sessions[$this->subscribers[$conn] ?? '']);
            unset($this->subscribers[$conn]);
            $this->channel->remove($conn);
        }

        return $this;
    }

    #[\ReturnTypeWillChange]
    public function getIterator()
    {
        // A copy: the body of a loop may change who is subscribed, or loop itself.
        return new \ArrayIterator(iterator_to_array($this->subscribers, false));
    }

    #[\ReturnTypeWillChange]
    public function count()
    {
        return count($this->subscribers);
    }

    /**
     * @return list<ConnectionInterface>
     */
    private function recipients(array $exclude, array $eligible): array
    {
        $exclude = array_flip($exclude);
        $eligible = array_flip($eligible);
        $recipients = [];
        foreach ($this->subscribers as $client) {
            $session = (string) $this->subscribers[$client];
            if (!isset($exclude[$session]) && ($eligible === [] || isset($eligible[$session]))) {
                $recipients[] = $client;
            }
        }

        return $recipients;
    }
}
