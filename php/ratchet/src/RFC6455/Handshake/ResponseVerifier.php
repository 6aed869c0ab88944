<?php

declare(strict_types=1);

namespace Ratchet\RFC6455\Handshake;

use Psr\Http\Message\RequestInterface;
use Psr\Http\Message\ResponseInterface;

/**
 * Checks what a server answers to the handshake of a client (RFC 6455 section 4.1).
 */
class ResponseVerifier
{
    /**
     * @return bool Whether the connection is a WebSocket now.
     */
    public function verifyAll(RequestInterface $request, ResponseInterface $response)
    {
        return $this->verifyStatus($response->getStatusCode())
            && $this->verifyUpgrade($response->getHeader('Upgrade'))
            && $this->verifyConnection($response->getHeader('Connection'))
            && $this->verifySecWebSocketAccept(
                $response->getHeader('Sec-WebSocket-Accept'),
                $request->getHeader('Sec-WebSocket-Key')
            )
            && $this->verifySubProtocol(
                $request->getHeader('Sec-WebSocket-Protocol'),
                $response->getHeader('Sec-WebSocket-Protocol')
            )
            && $this->verifyExtensions(
                $request->getHeader('Sec-WebSocket-Extensions'),
                $response->getHeader('Sec-WebSocket-Extensions')
            );
    }

    /**
     * @return bool
     */
    public function verifyStatus($status)
    {
        return (int) $status === 101;
    }

    /**
     * @return bool
     */
    public function verifyUpgrade(array $upgrade)
    {
        return in_array('websocket', array_map('strtolower', $upgrade), true);
    }

    /**
     * @return bool
     */
    public function verifyConnection(array $connection)
    {
        return (new RequestVerifier())->verifyConnection($connection);
    }

    /**
     * @param string[] $swa Sec-WebSocket-Accept of the response.
     * @param string[] $key Sec-WebSocket-Key of the request.
     *
     * @return bool
     */
    public function verifySecWebSocketAccept($swa, $key)
    {
        return count($swa) === 1 && count($key) === 1 && $swa[0] === $this->sign($key[0]);
    }

    /**
     * @return string
     */
    public function sign($key)
    {
        return base64_encode(sha1($key . NegotiatorInterface::GUID, true));
    }

    /**
     * @return bool
     */
    public function verifySubProtocol(array $requestHeader, array $responseHeader)
    {
        if ($responseHeader === []) {
            return true;
        }
        $requested = array_map('trim', explode(',', implode(',', $requestHeader)));

        return count($responseHeader) === 1 && in_array($responseHeader[0], $requested, true);
    }

    /**
     * @return int 1 or 0.
     */
    public function verifyExtensions(array $requestHeader, array $responseHeader)
    {
        $agreed = str_contains(implode(',', $responseHeader), 'permessage-deflate');

        return !$agreed || str_contains(implode(',', $requestHeader), 'permessage-deflate') ? 1 : 0;
    }
}
