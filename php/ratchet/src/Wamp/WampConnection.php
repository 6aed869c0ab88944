<?php

declare(strict_types=1);

namespace Ratchet\Wamp;

use Ratchet\AbstractConnectionDecorator;
use Ratchet\ConnectionInterface;

use const Ratchet\VERSION;

/**
 * A connection that speaks WAMP version 1. The constructor greets the client.
 *
 * @property \stdClass $WAMP `sessionId`, `prefixes`, and under a TopicManager `subscriptions`.
 */
class WampConnection extends AbstractConnectionDecorator
{
    public function __construct(ConnectionInterface $conn)
    {
        parent::__construct($conn);

        $this->WAMP = new \stdClass();
        $this->WAMP->sessionId = str_replace('.', '', uniqid((string) random_int(0, PHP_INT_MAX), true));
        $this->WAMP->prefixes = [];

        $this->send(json_encode([ServerProtocol::MSG_WELCOME, $this->WAMP->sessionId, 1, VERSION]));
    }

    /**
     * Answers a call with its result.
     *
     * @param string $id
     * @param array  $data
     *
     * @return WampConnection
     */
    public function callResult($id, $data = [])
    {
        return $this->send(json_encode([ServerProtocol::MSG_CALL_RESULT, $id, $data]));
    }

    /**
     * Answers a call with an error.
     *
     * @param string       $id
     * @param string|Topic $errorUri
     * @param string       $desc
     * @param mixed        $details
     *
     * @return WampConnection
     */
    public function callError($id, $errorUri, $desc = '', $details = null)
    {
        $message = [ServerProtocol::MSG_CALL_ERROR, $id, (string) $errorUri, $desc];
        if ($details !== null) {
            $message[] = $details;
        }

        return $this->send(json_encode($message));
    }

    /**
     * Sends an event to this client.
     *
     * @param string|Topic $topic
     * @param mixed        $msg
     *
     * @return WampConnection
     */
    public function event($topic, $msg)
    {
        return $this->send(json_encode([ServerProtocol::MSG_EVENT, (string) $topic, $msg]));
    }

    /**
     * Sends a prefix for URIs to this client.
     *
     * @param string $curie
     * @param string $uri
     *
     * @return WampConnection
     */
    public function prefix($curie, $uri)
    {
        $this->WAMP->prefixes[$curie] = (string) $uri;

        return $this->send(json_encode([ServerProtocol::MSG_PREFIX, $curie, (string) $uri]));
    }

    /**
     * The full URI of `prefix:reference`, if the prefix is known; else what was given.
     *
     * @param string $uri
     *
     * @return string
     */
    public function getUri($uri)
    {
        [$prefix, $reference] = explode(':', (string) $uri, 2) + [1 => null];
        if ($reference !== null && isset($this->WAMP->prefixes[$prefix])) {
            return $this->WAMP->prefixes[$prefix] . '#' . $reference;
        }

        return $uri;
    }

    /**
     * @internal
     */
    public function send($data)
    {
        $this->getConnection()->send($data);

        return $this;
    }

    /**
     * @param mixed $opt Close code or close frame; the default of the connection if null.
     */
    public function close($opt = null)
    {
        $opt === null ? $this->getConnection()->close() : $this->getConnection()->close($opt);
    }
}
