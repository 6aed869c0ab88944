<?php

declare(strict_types=1);

namespace Ratchet\RFC6455\Handshake;

use Psr\Http\Message\MessageInterface;
use Psr\Http\Message\RequestInterface;
use Psr\Http\Message\ResponseInterface;

/**
 * Parameters of compression (RFC 7692 section 7.1). Immutable.
 */
final class PermessageDeflateOptions
{
    const MAX_WINDOW_BITS = 15;

    private const MIN_WINDOW_BITS = 8;

    private bool $enabled = false;

    /** @var array<string, bool|int> Requested parameters by name. */
    private array $parameters = [];

    private function __construct()
    {
    }

    public static function createEnabled()
    {
        $options = new self();
        $options->enabled = true;

        return $options;
    }

    public static function createDisabled()
    {
        return new self();
    }

    public function withClientNoContextTakeover()
    {
        return $this->with('client_no_context_takeover', true);
    }

    public function withoutClientNoContextTakeover()
    {
        return $this->with('client_no_context_takeover', false);
    }

    public function withServerNoContextTakeover()
    {
        return $this->with('server_no_context_takeover', true);
    }

    public function withoutServerNoContextTakeover()
    {
        return $this->with('server_no_context_takeover', false);
    }

    /**
     * @throws \Exception If the number is not allowed.
     */
    public function withServerMaxWindowBits($bits = self::MAX_WINDOW_BITS)
    {
        return $this->with('server_max_window_bits', self::bits('server_max_window_bits', (string) $bits));
    }

    /**
     * @throws \Exception If the number is not allowed.
     */
    public function withClientMaxWindowBits($bits = self::MAX_WINDOW_BITS)
    {
        return $this->with('client_max_window_bits', self::bits('client_max_window_bits', (string) $bits));
    }

    /**
     * Parses the offers of a request or the agreement of a response.
     *
     * @return self[] In the order of the header; the last one is disabled.
     *
     * @throws InvalidPermessageDeflateOptionsException
     */
    public static function fromRequestOrResponse(MessageInterface $requestOrResponse)
    {
        $sets = [];
        foreach (explode(',', implode(',', $requestOrResponse->getHeader('Sec-WebSocket-Extensions'))) as $offer) {
            $parameters = array_map('trim', explode(';', $offer));
            if (array_shift($parameters) !== 'permessage-deflate') {
                continue;
            }
            $options = self::createEnabled();
            foreach ($parameters as $parameter) {
                [$name, $value] = array_map('trim', explode('=', $parameter, 2)) + [1 => null];
                if (isset($options->parameters[$name])) {
                    throw new InvalidPermessageDeflateOptionsException("$name is repeated");
                }
                $options->parameters[$name] = self::parameter($name, $value);
            }
            $sets[] = $options;
        }
        $sets[] = self::createDisabled();

        return $sets;
    }

    /**
     * @return bool|null Null when disabled.
     */
    public function getServerNoContextTakeover()
    {
        return $this->flag('server_no_context_takeover');
    }

    /**
     * @return bool|null Null when disabled.
     */
    public function getClientNoContextTakeover()
    {
        return $this->flag('client_no_context_takeover');
    }

    /**
     * @return int|null Null when disabled.
     */
    public function getServerMaxWindowBits()
    {
        return $this->window('server_max_window_bits');
    }

    /**
     * @return int|null Null when disabled.
     */
    public function getClientMaxWindowBits()
    {
        return $this->window('client_max_window_bits');
    }

    /**
     * @return bool
     */
    public function isEnabled()
    {
        return $this->enabled;
    }

    /**
     * @return ResponseInterface
     */
    public function addHeaderToResponse(ResponseInterface $response)
    {
        return $this->enabled ? $response->withAddedHeader('Sec-WebSocket-Extensions', $this->header(false)) : $response;
    }

    /**
     * @return RequestInterface
     */
    public function addHeaderToRequest(RequestInterface $request)
    {
        return $this->enabled ? $request->withAddedHeader('Sec-WebSocket-Extensions', $this->header(true)) : $request;
    }

    /**
     * Whether a PHP of this version can compress.
     *
     * @return bool
     */
    public static function permessageDeflateSupported($version = PHP_VERSION)
    {
        // Earlier versions have bugs in zlib contexts.
        $fixed = version_compare($version, '7.1.0', '<') ? '7.0.18' : '7.1.4';

        return function_exists('deflate_init') && version_compare($version, $fixed, '>=');
    }

    private function with(string $name, bool|int $value): self
    {
        $options = clone $this;
        $options->parameters[$name] = $value;

        return $options;
    }

    private function flag(string $name): ?bool
    {
        return $this->enabled ? (bool) ($this->parameters[$name] ?? false) : null;
    }

    private function window(string $name): ?int
    {
        return $this->enabled ? (int) ($this->parameters[$name] ?? self::MAX_WINDOW_BITS) : null;
    }

    private function header(bool $request): string
    {
        $header = 'permessage-deflate';
        foreach (['server', 'client'] as $side) {
            if ($this->flag("{$side}_no_context_takeover")) {
                $header .= "; {$side}_no_context_takeover";
            }
            $bits = $this->window("{$side}_max_window_bits");
            if ($bits !== self::MAX_WINDOW_BITS) {
                $header .= "; {$side}_max_window_bits=$bits";
            } elseif ($request && $side === 'client') {
                // Lets the server choose a smaller window for us.
                $header .= '; client_max_window_bits';
            }
        }

        return $header;
    }

    private static function parameter(string $name, ?string $value): bool|int
    {
        switch ($name) {
            case 'server_no_context_takeover':
            case 'client_no_context_takeover':
                return $value === null ? true : throw new InvalidPermessageDeflateOptionsException("$name takes no value");
            case 'client_max_window_bits':
                return self::bits($name, $value ?? (string) self::MAX_WINDOW_BITS);
            case 'server_max_window_bits':
                return self::bits($name, (string) $value);
            default:
                throw new InvalidPermessageDeflateOptionsException("permessage-deflate has no parameter '$name'");
        }
    }

    private static function bits(string $name, string $value): int
    {
        $value = trim($value, '"');
        if (!ctype_digit($value) || $value < self::MIN_WINDOW_BITS || $value > self::MAX_WINDOW_BITS) {
            throw new InvalidPermessageDeflateOptionsException("$name must be 8 to 15, not '$value'");
        }

        return (int) $value;
    }
}
