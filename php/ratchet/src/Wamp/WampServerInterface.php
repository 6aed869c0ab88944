<?php

declare(strict_types=1);

namespace Ratchet\Wamp;

use Ratchet\ComponentInterface;
use Ratchet\ConnectionInterface;

/**
 * An application that speaks WAMP version 1. Inside a WampServer, topics come as objects.
 */
interface WampServerInterface extends ComponentInterface
{
    /**
     * A client calls a procedure: answer with WampConnection::callResult() or callError().
     *
     * @param string       $id    To be returned with the answer.
     * @param string|Topic $topic The procedure.
     */
    public function onCall(ConnectionInterface $conn, $id, $topic, array $params);

    /**
     * @param string|Topic $topic
     */
    public function onSubscribe(ConnectionInterface $conn, $topic);

    /**
     * @param string|Topic $topic
     */
    public function onUnSubscribe(ConnectionInterface $conn, $topic);

    /**
     * A client publishes to a topic. No client receives the event unless the application broadcasts it.
     *
     * @param string|Topic $topic
     * @param mixed        $event    Decoded from JSON.
     * @param string[]     $exclude  Session ids that must not receive it.
     * @param string[]     $eligible The only session ids that may receive it; empty: all.
     */
    public function onPublish(ConnectionInterface $conn, $topic, $event, array $exclude, array $eligible);
}
