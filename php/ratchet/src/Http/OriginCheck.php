<?php

declare(strict_types=1);

namespace Ratchet\Http;

use Psr\Http\Message\RequestInterface;
use Ratchet\ConnectionInterface;
use Ratchet\MessageComponentInterface;

/**
 * Refuses requests (403) whose Origin header names another host than the allowed ones. Only
 * browsers send that header: a request without it is refused as well.
 */
class OriginCheck implements HttpServerInterface
{
    use CloseResponseTrait;

    /** @var MessageComponentInterface */
    protected $_component;

    /** @var string[] Host names. */
    public $allowedOrigins = [];

    /**
     * @param MessageComponentInterface $component Gets the requests that are not refused.
     * @param string[]                  $allowed   Host names, without scheme and port.
     */
    public function __construct(MessageComponentInterface $component, array $allowed = [])
    {
        $this->_component = $component;
        $this->allowedOrigins = array_merge($this->allowedOrigins, $allowed);
    }

    public function onOpen(ConnectionInterface $conn, ?RequestInterface $request = null)
    {
        $origin = (string) ($request->getHeader('Origin')[0] ?? '');
        $host = parse_url($origin, PHP_URL_HOST) ?: $origin;
        if ($host === '' || !in_array($host, $this->allowedOrigins, true)) {
            return $this->close($conn, 403);
        }

        return $this->_component->onOpen($conn, $request);
    }

    public function onMessage(ConnectionInterface $from, $msg)
    {
        return $this->_component->onMessage($from, $msg);
    }

    public function onClose(ConnectionInterface $conn)
    {
        return $this->_component->onClose($conn);
    }

    public function onError(ConnectionInterface $conn, \Exception $e)
    {
        return $this->_component->onError($conn, $e);
    }
}
