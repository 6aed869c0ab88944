<?php

declare(strict_types=1);

namespace Ratchet\RFC6455\Handshake;

use Psr\Http\Message\RequestInterface;

/**
 * Checks what a client must send in its handshake (RFC 6455 section 4.2.1).
 */
class RequestVerifier
{
    const VERSION = 13;

    /**
     * @return bool Whether the request is a handshake.
     */
    public function verifyAll(RequestInterface $request)
    {
        return $this->verifyMethod($request->getMethod())
            && $this->verifyHTTPVersion($request->getProtocolVersion())
            && $this->verifyRequestURI($request->getUri()->getPath())
            && $this->verifyHost($request->getHeader('Host'))
            && $this->verifyUpgradeRequest($request->getHeader('Upgrade'))
            && $this->verifyConnection($request->getHeader('Connection'))
            && $this->verifyKey($request->getHeader('Sec-WebSocket-Key'))
            && $this->verifyVersion($request->getHeader('Sec-WebSocket-Version'));
    }

    /**
     * @param string $val
     *
     * @return bool
     */
    public function verifyMethod($val)
    {
        return strtolower((string) $val) === 'get';
    }

    /**
     * @param string|float $val
     *
     * @return bool
     */
    public function verifyHTTPVersion($val)
    {
        return (float) $val >= 1.1;
    }

    /**
     * @param string $val Path.
     *
     * @return bool
     */
    public function verifyRequestURI($val)
    {
        return preg_match('~^/[^#\x80-\xff]*$~D', $val) === 1;
    }

    /**
     * @return bool
     */
    public function verifyHost(array $hostHeader)
    {
        return count($hostHeader) === 1;
    }

    /**
     * @return bool
     */
    public function verifyUpgradeRequest(array $upgradeHeader)
    {
        return count($upgradeHeader) === 1 && strtolower((string) $upgradeHeader[0]) === 'websocket';
    }

    /**
     * @return bool
     */
    public function verifyConnection(array $connectionHeader)
    {
        $tokens = array_map('trim', explode(',', strtolower(implode(',', $connectionHeader))));

        return in_array('upgrade', $tokens, true);
    }

    /**
     * @return bool
     */
    public function verifyKey(array $keyHeader)
    {
        return count($keyHeader) === 1 && strlen((string) base64_decode((string) $keyHeader[0], true)) === 16;
    }

    /**
     * @return bool
     */
    public function verifyVersion(array $versionHeader)
    {
        return count($versionHeader) === 1 && (int) $versionHeader[0] === static::VERSION;
    }

    /**
     * Any offer of subprotocols is well-formed.
     *
     * @return bool
     */
    public function verifyProtocol($val)
    {
        return true;
    }

    /**
     * Any offer of extensions is well-formed.
     *
     * @return bool
     */
    public function verifyExtensions($val)
    {
        return true;
    }

    /**
     * The agreed parameters of the extension, by name.
     *
     * @return array<string, string>|null Null without compression.
     */
    public function getPermessageDeflateOptions(array $requestHeader, array $responseHeader)
    {
        foreach (explode(',', implode(',', $responseHeader ?: $requestHeader)) as $extension) {
            $parts = array_map('trim', explode(';', $extension));
            if (array_shift($parts) === 'permessage-deflate') {
                $options = [];
                foreach ($parts as $part) {
                    [$name, $value] = explode('=', $part, 2) + [1 => ''];
                    $options[$name] = $value;
                }

                return $options;
            }
        }

        return null;
    }
}
