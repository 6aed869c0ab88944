<?php

declare(strict_types=1);

namespace Ratchet;

/**
 * Version of the Ratchet API that this package provides, as it appears in headers.
 *
 * @var string
 */
const VERSION = 'Ratchet/0.4.4';

/**
 * One connection as an application sees it.
 *
 * Applications keep data of their own as dynamic properties. The same object is passed to every
 * callback of a connection, so that it may be a key of `SplObjectStorage`.
 *
 * @property int                                     $resourceId          Number, unique among the connections of the process.
 * @property string                                  $remoteAddress       IP address of the peer.
 * @property \Psr\Http\Message\RequestInterface     $httpRequest         Request of the handshake, within a WsServer.
 * @property \stdClass                               $WebSocket           See WebSocket\WsConnection.
 * @property \stdClass                               $WAMP                See Wamp\WampConnection.
 * @property \Symfony\Component\HttpFoundation\Session\Session $Session Within a SessionProvider.
 * @property \Ratchet\Http\HttpServerInterface       $controller          Component of the route, within a Router.
 * @property bool                                    $httpHeadersReceived Whether an HttpServer has the head of the request.
 * @property string|null                             $httpBuffer          The part of the head that an HttpServer has so far.
 */
interface ConnectionInterface
{
    /**
     * Sends data. Never blocks, and never reports failure.
     *
     * @param string $data
     *
     * @return ConnectionInterface
     */
    public function send($data);

    /**
     * Closes the connection after what was sent before.
     */
    public function close();
}
