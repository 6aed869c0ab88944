<?php

declare(strict_types=1);

namespace Ratchet\Wamp;

use Ratchet\ConnectionInterface;
use Ratchet\WebSocket\WsServerInterface;

/**
 * Finds topics by name, and keeps their subscribers. A topic is deleted with its last subscriber.
 */
class TopicManager implements WsServerInterface, WampServerInterface
{
    /** @var WampServerInterface */
    protected $app;

    /** @var array<string, Topic> */
    protected $topicLookup = [];

    public function __construct(WampServerInterface $app)
    {
        $this->app = $app;
    }

    public function onOpen(ConnectionInterface $conn)
    {
        $conn->WAMP->subscriptions = new \SplObjectStorage();
        $this->app->onOpen($conn);
    }

    public function onCall(ConnectionInterface $conn, $id, $topic, array $params)
    {
        $this->app->onCall($conn, $id, $this->getTopic($topic), $params);
    }

    public function onSubscribe(ConnectionInterface $conn, $topic)
    {
        $subscribed = $this->getTopic($topic);
        if (isset($conn->WAMP->subscriptions[$subscribed])) {
            return;
        }
        $subscribed->add($conn);
        $conn->WAMP->subscriptions[$subscribed] = null;
        $this->app->onSubscribe($conn, $subscribed);
    }

    public function onUnsubscribe(ConnectionInterface $conn, $topic)
    {
        $unsubscribed = $this->getTopic($topic);
        if (!isset($conn->WAMP->subscriptions[$unsubscribed])) {
            return;
        }
        $this->cleanTopic($unsubscribed, $conn);
        $this->app->onUnsubscribe($conn, $unsubscribed);
    }

    public function onPublish(ConnectionInterface $conn, $topic, $event, array $exclude, array $eligible)
    {
        $this->app->onPublish($conn, $this->getTopic($topic), $event, $exclude, $eligible);
    }

    public function onClose(ConnectionInterface $conn)
    {
        try {
            $this->app->onClose($conn);
        } finally {
            // This also deletes topics without subscribers, which calls of procedures leave behind.
            foreach ($this->topicLookup as $topic) {
                $this->cleanTopic($topic, $conn);
            }
        }
    }

    public function onError(ConnectionInterface $conn, \Exception $e)
    {
        $this->app->onError($conn, $e);
    }

    public function getSubProtocols()
    {
        $app = $this->app;

        return $app instanceof WsServerInterface ? $app->getSubProtocols() : [];
    }

    /**
     * @param string $topic
     *
     * @return Topic The topic of this name.
     */
    protected function getTopic($topic)
    {
        return $this->topicLookup[$topic] ??= new Topic($topic);
    }

    /**
     * Ends a subscription, and deletes the topic with the last one.
     */
    protected function cleanTopic(Topic $topic, ConnectionInterface $conn)
    {
        unset($conn->WAMP->subscriptions[$topic]);
        $topic->remove($conn);
        if (count($topic) === 0) {
            unset($this->topicLookup[$topic->getId()]);
        }
    }
}
