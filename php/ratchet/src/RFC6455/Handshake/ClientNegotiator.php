<?php

declare(strict_types=1);

namespace Ratchet\RFC6455\Handshake;

use GuzzleHttp\Psr7\Request;
use Psr\Http\Message\RequestInterface;
use Psr\Http\Message\ResponseInterface;
use Psr\Http\Message\UriInterface;
use Ratchet\Native\Log;

/**
 * The client's side of the handshake (RFC 6455 section 4.1), for client libraries.
 */
class ClientNegotiator
{
    /** @var ResponseVerifier */
    private $verifier;

    /** @var RequestInterface Without URI and key. */
    private $template;

    /**
     * @param PermessageDeflateOptions|object|null $requestFactory           The options in 0.3; in 0.4 a PSR-17
     *        factory, which is not used here.
     * @param PermessageDeflateOptions|null        $perMessageDeflateOptions
     */
    public function __construct($requestFactory = null, ?PermessageDeflateOptions $perMessageDeflateOptions = null)
    {
        if ($requestFactory instanceof PermessageDeflateOptions) {
            $perMessageDeflateOptions ??= $requestFactory;
        }
        $this->verifier = new ResponseVerifier();
        $request = new Request('GET', '', [
            'Connection' => 'Upgrade',
            'Upgrade' => 'websocket',
            'Sec-WebSocket-Version' => (string) $this->getVersion(),
            'User-Agent' => 'Ratchet',
        ]);
        $deflate = $perMessageDeflateOptions ?? PermessageDeflateOptions::createDisabled();
        if ($deflate->isEnabled() && !PermessageDeflateOptions::permessageDeflateSupported()) {
            Log::trigger('notice', 'compression.unavailable', 'The zlib extension is missing: connecting without compression', E_USER_NOTICE);
            $deflate = PermessageDeflateOptions::createDisabled();
        }
        $this->template = $deflate->addHeaderToRequest($request);
    }

    /**
     * @return RequestInterface
     */
    public function generateRequest(UriInterface $uri)
    {
        return $this->template->withUri($uri)->withHeader('Sec-WebSocket-Key', $this->generateKey());
    }

    /**
     * @return bool Whether the connection is a WebSocket now.
     */
    public function validateResponse(RequestInterface $request, ResponseInterface $response)
    {
        return $this->verifier->verifyAll($request, $response);
    }

    /**
     * @return string
     */
    public function generateKey()
    {
        return base64_encode(random_bytes(16));
    }

    /**
     * @return int
     */
    public function getVersion()
    {
        return RequestVerifier::VERSION;
    }
}
