<?php

declare(strict_types=1);

namespace Ratchet\Http;

use Ratchet\ConnectionInterface;
use Ratchet\MessageComponentInterface;
use Ratchet\Native\Link;

/**
 * Parses the HTTP requests of connections. A stack with this component is served by the native server,
 * which has parsed them already.
 */
class HttpServer implements MessageComponentInterface
{
    use CloseResponseTrait;

    /** @var HttpRequestParser */
    protected $_reqParser;

    /** @var HttpServerInterface */
    protected $_httpServer;

    public function __construct(HttpServerInterface $component)
    {
        $this->_httpServer = $component;
        $this->_reqParser = new HttpRequestParser();
    }

    public function onOpen(ConnectionInterface $conn)
    {
        $conn->httpHeadersReceived = false;
    }

    public function onMessage(ConnectionInterface $from, $msg)
    {
        if ($from->httpHeadersReceived) {
            return $this->_httpServer->onMessage($from, $msg);
        }
        try {
            $request = $from instanceof Link && $from->__exchange?->head() === $msg
                ? $from->__exchange->psr()
                : $this->_reqParser->onMessage($from, $msg);
        } catch (\OverflowException) {
            return $this->close($from, 413);
        }
        if ($request !== null) {
            $from->httpHeadersReceived = true;

            return $this->_httpServer->onOpen($from, $request);
        }
    }

    public function onClose(ConnectionInterface $conn)
    {
        if ($conn->httpHeadersReceived) {
            $this->_httpServer->onClose($conn);
        }
    }

    public function onError(ConnectionInterface $conn, \Exception $e)
    {
        $conn->httpHeadersReceived ? $this->_httpServer->onError($conn, $e) : $this->close($conn, 500);
    }
}
