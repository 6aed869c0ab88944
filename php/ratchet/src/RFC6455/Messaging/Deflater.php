<?php

declare(strict_types=1);

namespace Ratchet\RFC6455\Messaging;

use Ratchet\RFC6455\Handshake\PermessageDeflateOptions;

/**
 * Compresses and decompresses messages (RFC 7692 section 7.2).
 *
 * @internal
 */
final class Deflater
{
    /** Omitted at the end of each compressed message. */
    private const TAIL = "\x00\x00\xff\xff";

    private ?\InflateContext $inflate = null;

    private ?\DeflateContext $deflate = null;

    /**
     * @param bool $isServer Whether this side is the server.
     */
    public function __construct(private readonly PermessageDeflateOptions $options, private readonly bool $isServer)
    {
    }

    public function deflate(string $payload): string
    {
        $bits = $this->isServer ? $this->options->getServerMaxWindowBits() : $this->options->getClientMaxWindowBits();
        $fresh = $this->isServer ? $this->options->getServerNoContextTakeover() : $this->options->getClientNoContextTakeover();
        // zlib cannot write raw deflate data with a window of 8 bits.
        $context = $this->deflate ?? deflate_init(ZLIB_ENCODING_RAW, ['window' => max(9, $bits)]) ?: self::refuse();
        $this->deflate = $fresh ? null : $context;

        return substr(deflate_add($context, $payload, ZLIB_SYNC_FLUSH), 0, -strlen(self::TAIL));
    }

    /**
     * @return string|null Null if the data is invalid, or exceeds $limit when decompressed.
     */
    public function inflate(string $payload, ?int $limit): ?string
    {
        $bits = $this->isServer ? $this->options->getClientMaxWindowBits() : $this->options->getServerMaxWindowBits();
        $fresh = $this->isServer ? $this->options->getClientNoContextTakeover() : $this->options->getServerNoContextTakeover();
        $context = $this->inflate ?? inflate_init(ZLIB_ENCODING_RAW, ['window' => $bits]) ?: self::refuse();
        $this->inflate = $fresh ? null : $context;

        $out = '';
        // In pieces, so that a small input that inflates beyond the limit is detected early.
        foreach (str_split($payload . self::TAIL, 4096) as $piece) {
            $part = @inflate_add($context, $piece, ZLIB_SYNC_FLUSH);
            if ($part === false || ($limit !== null && strlen($out) + strlen($part) > $limit)) {
                return null;
            }
            $out .= $part;
        }

        return $out;
    }

    private static function refuse(): never
    {
        throw new \UnexpectedValueException('zlib does not support this window size');
    }
}
