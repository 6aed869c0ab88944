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
    /** What a sender leaves out at the end of each message. */
    private const TAIL = "\x00\x00\xff\xff";

    private ?\InflateContext $inflate = null;

    private ?\DeflateContext $deflate = null;

    /**
     * @param bool $isServer Whether our own side is the server.
     */
    public function __construct(private readonly PermessageDeflateOptions $options, private readonly bool $isServer)
    {
    }

    public function deflate(string $payload): string
    {
        $bits = $this->isServer ? $this->options->getServerMaxWindowBits() : $this->options->getClientMaxWindowBits();
        $fresh = $this->isServer ? $this->options->getServerNoContextTakeover() : $this->options->getClientNoContextTakeover();
        // zlib can't do raw deflate with a window of 8 bits; a larger one of ours is no violation of 9.
        $context = $this->deflate ?? deflate_init(ZLIB_ENCODING_RAW, ['window' => max(9, $bits)]) ?: self::refuse();
        $this->deflate = $fresh ? null : $context;

        return substr(deflate_add($context, $payload, ZLIB_SYNC_FLUSH), 0, -strlen(self::TAIL));
    }

    /**
     * @return string|null Null if it is not compressed data, or more than $limit when decompressed.
     */
    public function inflate(string $payload, ?int $limit): ?string
    {
        $bits = $this->isServer ? $this->options->getClientMaxWindowBits() : $this->options->getServerMaxWindowBits();
        $fresh = $this->isServer ? $this->options->getClientNoContextTakeover() : $this->options->getServerNoContextTakeover();
        $context = $this->inflate ?? inflate_init(ZLIB_ENCODING_RAW, ['window' => $bits]) ?: self::refuse();
        $this->inflate = $fresh ? null : $context;

        $out = '';
        // Piece by piece, so that little data that becomes much is noticed early.
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
        throw new \UnexpectedValueException('zlib has no context for this window');
    }
}
