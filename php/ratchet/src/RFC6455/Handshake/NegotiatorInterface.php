<?php

declare(strict_types=1);

namespace Ratchet\RFC6455\Handshake;

use Psr\Http\Message\RequestInterface;
use Psr\Http\Message\ResponseInterface;

/**
 * Answers the handshake of a client (RFC 6455 section 4.2).
 */
interface NegotiatorInterface
{
    const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

    /**
     * @return bool Whether the request is for the version that this negotiator speaks.
     */
    public function isProtocol(RequestInterface $request);

    /**
     * @return int
     */
    public function getVersionNumber();

    /**
     * @return ResponseInterface 101, or what is wrong with the request.
     */
    public function handshake(RequestInterface $request);

    /**
     * @param string[] $protocols
     */
    public function setSupportedSubProtocols(array $protocols);

    /**
     * @param bool $enable Refuse clients with which no subprotocol can be agreed on.
     */
    public function setStrictSubProtocolCheck($enable);
}
