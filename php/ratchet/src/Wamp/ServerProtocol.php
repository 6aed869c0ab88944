<?php

declare(strict_types=1);

namespace Ratchet\Wamp;

use Ratchet\ConnectionInterface;
use Ratchet\MessageComponentInterface;
use Ratchet\WebSocket\WsServerInterface;

/**
 * Speaks WAMP version 1 with clients, and calls the application for each of their messages.
 *
 * Version 1 is long superseded; autobahn.js 0.8 still speaks it.
 */
class ServerProtocol implements MessageComponentInterface, WsServerInterface
{
    const MSG_WELCOME = 0;
    const MSG_PREFIX = 1;
    const MSG_CALL = 2;
    const MSG_CALL_RESULT = 3;
    const MSG_CALL_ERROR = 4;
    const MSG_SUBSCRIBE = 5;
    const MSG_UNSUBSCRIBE = 6;
    const MSG_PUBLISH = 7;
    const MSG_EVENT = 8;

    /** @var WampServerInterface */
    protected $_decorating;

    /** @var \SplObjectStorage<ConnectionInterface, WampConnection> */
    protected $connections;

    public function __construct(WampServerInterface $serverComponent)
    {
        $this->_decorating = $serverComponent;
        $this->connections = new \SplObjectStorage();
    }

    public function getSubProtocols()
    {
        $app = $this->_decorating;
        $own = $app instanceof WsServerInterface ? $app->getSubProtocols() : [];
        $own[] = 'wamp';

        return $own;
    }

    public function onOpen(ConnectionInterface $conn)
    {
        $this->connections[$conn] = new WampConnection($conn);
        $this->_decorating->onOpen($this->connections[$conn]);
    }

    /**
     * @throws Exception     If the message breaks the rules of WAMP.
     * @throws JsonException If it is not JSON.
     */
    public function onMessage(ConnectionInterface $from, $msg)
    {
        $conn = $this->connections[$from];
        $message = json_decode((string) $msg, true);
        if ($message === null) {
            throw new JsonException();
        }
        if (!is_array($message) || !array_is_list($message)) {
            throw new Exception('A WAMP message must be a list');
        }
        if (isset($message[1]) && !is_string($message[1]) && !is_numeric($message[1])) {
            throw new Exception('The second element of a message must be a URI or an id');
        }
        switch ($message[0] ?? null) {
            case static::MSG_PREFIX:
                $conn->WAMP->prefixes[self::element($message, 1)] = self::element($message, 2);
                break;
            case static::MSG_CALL:
                $this->call($conn, $message);
                break;
            case static::MSG_SUBSCRIBE:
                $this->_decorating->onSubscribe($conn, $conn->getUri(self::element($message, 1)));
                break;
            case static::MSG_UNSUBSCRIBE:
                $this->_decorating->onUnSubscribe($conn, $conn->getUri(self::element($message, 1)));
                break;
            case static::MSG_PUBLISH:
                $this->publish($conn, $message);
                break;
            default:
                throw new Exception('Clients do not send WAMP messages of this type');
        }
    }

    public function onClose(ConnectionInterface $conn)
    {
        $closed = $this->connections[$conn];
        unset($this->connections[$conn]);
        $this->_decorating->onClose($closed);
    }

    public function onError(ConnectionInterface $conn, \Exception $e)
    {
        return $this->_decorating->onError($this->connections[$conn], $e);
    }

    private function call(WampConnection $conn, array $message): void
    {
        $procedure = self::element($message, 2);
        if (!is_string($procedure) && !is_numeric($procedure)) {
            throw new Exception('The procedure of a call must be a URI');
        }
        $parameters = array_slice($message, 3);
        // One array as the only argument is taken for the list of arguments.
        if (count($parameters) === 1 && is_array($parameters[0])) {
            $parameters = $parameters[0];
        }
        $this->_decorating->onCall($conn, $message[1], $conn->getUri($procedure), $parameters);
    }

    private function publish(WampConnection $conn, array $message): void
    {
        $exclude = $message[3] ?? false;
        if (!is_array($exclude)) {
            $exclude = $exclude ? [$conn->WAMP->sessionId] : [];
        }
        $eligible = $message[4] ?? [];
        $event = array_key_exists(2, $message) ? $message[2] : throw new Exception('The event is missing');
        $topic = $conn->getUri(self::element($message, 1));
        $this->_decorating->onPublish($conn, $topic, $event, $exclude, is_array($eligible) ? $eligible : []);
    }

    private static function element(array $message, int $index): mixed
    {
        return $message[$index] ?? throw new Exception("The message has no element $index");
    }
}
