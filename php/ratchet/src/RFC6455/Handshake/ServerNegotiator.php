<?php

declare(strict_types=1);

namespace Ratchet\RFC6455\Handshake;

use GuzzleHttp\Psr7\Response;
use Psr\Http\Message\RequestInterface;
use Psr\Http\Message\ResponseInterface;

/**
 * Answers handshakes in PHP. On the native server, WsServer asks it for the subprotocol.
 */
class ServerNegotiator implements NegotiatorInterface
{
    /** @var RequestVerifier */
    private $verifier;

    /** @var string[] */
    private $subProtocols = [];

    /** @var bool|null Null: strict only where subprotocols are named. */
    private $strict = false;

    /** @var bool */
    private $deflate;

    /**
     * @param RequestVerifier $requestVerifier
     * @param bool|object     $responseFactory         In 0.3 the flag for compression; in 0.4 a PSR-17
     *        factory, which is not used here.
     * @param bool            $enablePerMessageDeflate Agree to compression if a client offers it.
     */
    public function __construct(RequestVerifier $requestVerifier, $responseFactory = false, $enablePerMessageDeflate = false)
    {
        $wanted = in_array(true, [$responseFactory, $enablePerMessageDeflate], true);
        $this->verifier = $requestVerifier;
        $this->deflate = $wanted && PermessageDeflateOptions::permessageDeflateSupported();
    }

    public function isProtocol(RequestInterface $request)
    {
        return $this->verifier->verifyVersion($request->getHeader('Sec-WebSocket-Version'));
    }

    public function getVersionNumber()
    {
        return RequestVerifier::VERSION;
    }

    public function handshake(RequestInterface $request)
    {
        return $this->fault($request) ?? $this->agree($request);
    }

    /**
     * The value of Sec-WebSocket-Accept for a key.
     *
     * @param string $key
     *
     * @return string
     */
    public function sign($key)
    {
        return base64_encode(sha1($key . static::GUID, true));
    }

    public function setSupportedSubProtocols(array $protocols)
    {
        $this->subProtocols = array_values($protocols);
    }

    /**
     * @param bool|null $enable Null: only where subprotocols are named.
     */
    public function setStrictSubProtocolCheck($enable)
    {
        $this->strict = $enable === null ? null : (bool) $enable;
    }

    /**
     * @internal
     *
     * @return string[]
     */
    public function supportedSubProtocols(): array
    {
        return $this->subProtocols;
    }

    /**
     * @internal Selects from the subprotocols that a client offers.
     *
     * @param string[] $offered
     *
     * @return string|false|null Null for a handshake without one; false if it must be refused.
     */
    public function agreeOn(array $offered): string|false|null
    {
        $agreed = array_values(array_intersect($offered, $this->subProtocols));
        $strict = $this->strict ?? $this->subProtocols !== [];

        return $agreed[0] ?? ($strict && ($offered !== [] || $this->subProtocols !== []) ? false : null);
    }

    /**
     * Headers of a 426, which say what a client must request.
     *
     * @return array<string, string>
     */
    private function upgrade(): array
    {
        $headers = ['Connection' => 'Upgrade', 'Upgrade' => 'websocket', 'Sec-WebSocket-Version' => (string) $this->getVersionNumber()];

        return $this->subProtocols === [] ? $headers : $headers + ['Sec-WebSocket-Protocol' => implode(', ', $this->subProtocols)];
    }

    private function fault(RequestInterface $request): ?ResponseInterface
    {
        $check = $this->verifier;
        if (!$check->verifyMethod($request->getMethod())) {
            return new Response(405, ['Allow' => 'GET']);
        }
        if (!$check->verifyHTTPVersion($request->getProtocolVersion())) {
            return new Response(505);
        }
        if (!$check->verifyRequestURI($request->getUri()->getPath()) || !$check->verifyHost($request->getHeader('Host'))) {
            return new Response(400);
        }
        if (!$check->verifyUpgradeRequest($request->getHeader('Upgrade'))) {
            return new Response(426, $this->upgrade(), null, '1.1', 'Upgrade header MUST be provided');
        }
        if (!$check->verifyConnection($request->getHeader('Connection'))) {
            return new Response(400, [], null, '1.1', 'Connection Upgrade MUST be requested');
        }
        if (!$check->verifyKey($request->getHeader('Sec-WebSocket-Key'))) {
            return new Response(400, [], null, '1.1', 'Invalid Sec-WebSocket-Key');
        }
        if (!$check->verifyVersion($request->getHeader('Sec-WebSocket-Version'))) {
            return new Response(426, $this->upgrade());
        }

        return null;
    }

    private function agree(RequestInterface $request): ResponseInterface
    {
        $headers = [
            'Upgrade' => 'websocket',
            'Connection' => 'Upgrade',
            'Sec-WebSocket-Accept' => $this->sign($request->getHeader('Sec-WebSocket-Key')[0]),
        ];
        $offered = array_map('trim', explode(',', implode(',', $request->getHeader('Sec-WebSocket-Protocol'))));
        $agreed = $this->agreeOn($offered === [''] ? [] : $offered);
        if (is_string($agreed)) {
            $headers['Sec-WebSocket-Protocol'] = $agreed;
        } elseif ($agreed === false) {
            $reason = 'No Sec-WebSocket-Protocols requested supported';
            $ours = implode(', ', $this->subProtocols);

            return new Response(426, $this->upgrade(), $ours === '' ? null : "$reason: $ours", '1.1', $reason);
        }
        $response = new Response(101, $headers);
        if (!$this->deflate) {
            return $response;
        }
        try {
            return PermessageDeflateOptions::fromRequestOrResponse($request)[0]->addHeaderToResponse($response);
        } catch (InvalidPermessageDeflateOptionsException) {
            return new Response(400, [], null, '1.1', 'Invalid permessage-deflate options');
        }
    }
}
