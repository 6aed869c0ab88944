<?php

declare(strict_types=1);

namespace Ratchet\Native;

use Sprocket\ResponseStream;

/**
 * A response that a component writes in pieces. Removes the component's own framing (RFC 9112
 * sections 6 and 7.1), because the native server frames the body itself.
 *
 * @internal
 */
final class Streamed
{
    /** Whether the component has written as much as it had announced. */
    public bool $complete = false;

    /** The part of a chunked body that is not decoded yet. */
    private string $raw = '';

    /** Remaining bytes of the current chunk, its line end included. */
    private int $chunk = 0;

    /**
     * @param int|null $left Content-Length of the component; null without one.
     */
    public function __construct(
        public readonly ResponseStream $stream,
        private ?int $left,
        private readonly bool $chunked,
    ) {
        $this->complete = $left === 0;
    }

    /**
     * Passes a piece on. False if the client reads too slowly: the response is cut.
     */
    public function write(string $data): bool
    {
        if ($this->chunked) {
            $data = $this->dechunk($data);
        } elseif ($this->left !== null) {
            $data = strlen($data) > $this->left ? substr($data, 0, $this->left) : $data;
            $this->left -= strlen($data);
            $this->complete = $this->left === 0;
        }

        return $data === '' || !$this->stream->isOpen() || $this->stream->write($data);
    }

    private function dechunk(string $data): string
    {
        $this->raw .= $data;
        $body = '';
        while ($this->raw !== '' && !$this->complete) {
            if ($this->chunk > 0) {
                $part = substr($this->raw, 0, $this->chunk);
                $this->raw = substr($this->raw, strlen($part));
                // The last two bytes end the line.
                $body .= substr($part, 0, max(0, min(strlen($part), $this->chunk - 2)));
                $this->chunk -= strlen($part);
            } elseif (preg_match('~^([0-9a-f]{1,8})[^\n]*\r\n~i', $this->raw, $line)) {
                $this->raw = substr($this->raw, strlen($line[0]));
                $size = (int) hexdec($line[1]);
                $this->complete = $size === 0;
                $this->chunk = $size + 2;
            } else {
                break;
            }
        }

        return $body;
    }
}
