<?php

namespace Ratchet\RFC6455\Messaging;

/**
 * A frame (RFC 6455 section 5.2): built by an application to be sent, or collected from bytes.
 */
class Frame implements FrameInterface
{
    const OP_CONTINUE = 0;
    const OP_TEXT = 1;
    const OP_BINARY = 2;
    const OP_CLOSE = 8;
    const OP_PING = 9;
    const OP_PONG = 10;

    const CLOSE_NORMAL = 1000;
    const CLOSE_GOING_AWAY = 1001;
    const CLOSE_PROTOCOL = 1002;
    const CLOSE_BAD_DATA = 1003;

    const CLOSE_NO_STATUS = 1005;
    const CLOSE_ABNORMAL = 1006;
    const CLOSE_BAD_PAYLOAD = 1007;
    const CLOSE_POLICY = 1008;
    const CLOSE_TOO_BIG = 1009;
    const CLOSE_MAND_EXT = 1010;
    const CLOSE_SRV_ERR = 1011;
    const CLOSE_TLS = 1015;

    const MASK_LENGTH = 4;

    /** @var string Header and payload as on the wire, and what follows them. */
    protected $data = '';

    /** @var int Bytes received so far. */
    public $bytesRecvd = 0;

    /** @var int Length of the payload, -1 until it is known. */
    protected $defPayLen = -1;

    /** @var int Final bit, reserved bits and opcode; -1 until it is received. */
    protected $firstByte = -1;

    /** @var int Mask bit and short length; -1 until it is received. */
    protected $secondByte = -1;

    /** @var callable|null Makes the exception for a frame that is not complete. */
    private $underflow;

    /**
     * @param string|null   $payload            Null to collect a frame with addBuffer().
     * @param bool          $final              Whether it is the last one of its message.
     * @param int           $opcode             One of the OP_ constants.
     * @param callable|null $ufExceptionFactory `function (string $message): \UnderflowException`
     */
    public function __construct($payload = null, $final = true, $opcode = 1, ?callable $ufExceptionFactory = null)
    {
        $this->underflow = $ufExceptionFactory;
        if ($payload === null) {
            return;
        }
        $length = strlen($payload);
        $header = chr(($final ? 0x80 : 0) | $opcode);
        if ($length < 126) {
            $header .= chr($length);
        } elseif ($length < 65536) {
            $header .= "\x7e" . pack('n', $length);
        } else {
            $header .= "\x7f" . pack('J', $length);
        }
        $this->addBuffer($header . $payload);
    }

    public function isCoalesced()
    {
        return $this->hasHeader() && $this->bytesRecvd >= $this->getPayloadStartingByte() + $this->getPayloadLength();
    }

    public function addBuffer($buf)
    {
        $this->bytesRecvd += strlen($buf);
        $this->data .= $buf;
        if ($this->firstByte === -1 && $this->bytesRecvd > 0) {
            $this->firstByte = ord($this->data[0]);
        }
        if ($this->secondByte === -1 && $this->bytesRecvd > 1) {
            $this->secondByte = ord($this->data[1]);
        }
    }

    public function isFinal()
    {
        return ($this->firstByte() & 0x80) !== 0;
    }

    /**
     * Marks the frame as compressed (RFC 7692), or not.
     *
     * @param bool $value
     *
     * @return Frame
     */
    public function setRsv1($value = true)
    {
        $this->firstByte = $value ? $this->firstByte() | 0x40 : $this->firstByte() & ~0x40;
        $this->data[0] = chr($this->firstByte);

        return $this;
    }

    /**
     * @return bool
     */
    public function getRsv1()
    {
        return ($this->firstByte() & 0x40) !== 0;
    }

    /**
     * @return bool
     */
    public function getRsv2()
    {
        return ($this->firstByte() & 0x20) !== 0;
    }

    /**
     * @return bool
     */
    public function getRsv3()
    {
        return ($this->firstByte() & 0x10) !== 0;
    }

    public function isMasked()
    {
        return ($this->secondByte() & 0x80) !== 0;
    }

    public function getMaskingKey()
    {
        if (!$this->isMasked()) {
            return '';
        }
        $start = 1 + $this->getNumPayloadBytes();
        if ($this->bytesRecvd < $start + static::MASK_LENGTH) {
            throw $this->underflow('The masking key is not complete');
        }

        return substr($this->data, $start, static::MASK_LENGTH);
    }

    /**
     * @return string
     */
    public function generateMaskingKey()
    {
        return random_bytes(static::MASK_LENGTH);
    }

    /**
     * Masks the payload, as a client must.
     *
     * @param string|null $maskingKey Four bytes; random ones if null.
     *
     * @return Frame
     *
     * @throws \InvalidArgumentException
     */
    public function maskPayload($maskingKey = null)
    {
        $maskingKey ??= $this->generateMaskingKey();
        if (strlen($maskingKey) !== static::MASK_LENGTH) {
            throw new \InvalidArgumentException('A masking key has ' . static::MASK_LENGTH . ' bytes');
        }
        $this->rewrite($this->secondByte() | 0x80, $maskingKey, $this->applyMask($maskingKey, $this->getPayload()));

        return $this;
    }

    /**
     * @return Frame
     */
    public function unMaskPayload()
    {
        if ($this->isMasked()) {
            $this->rewrite($this->secondByte() & 0x7f, '', $this->getPayload());
        }

        return $this;
    }

    /**
     * XOR with a masking key: masks and unmasks.
     *
     * @param string      $maskingKey
     * @param string|null $payload    The frame's own if null.
     *
     * @return string
     */
    public function applyMask($maskingKey, $payload = null)
    {
        $payload ??= $this->getPayload();
        $length = strlen($payload);

        return $length === 0 ? '' : $payload ^ str_repeat($maskingKey, intdiv($length + 3, 4));
    }

    public function getOpcode()
    {
        return $this->firstByte() & 0x0f;
    }

    /**
     * @return int The length field of the second byte: a length, or 126 or 127.
     */
    protected function getFirstPayloadVal()
    {
        return $this->secondByte() & 0x7f;
    }

    /**
     * @return int Bits of the length, the short field included.
     */
    protected function getNumPayloadBits()
    {
        return match ($this->getFirstPayloadVal()) {
            126 => 7 + 16,
            127 => 7 + 64,
            default => 7,
        };
    }

    /**
     * @return int Bytes of the length, the second byte included.
     */
    protected function getNumPayloadBytes()
    {
        return intdiv(1 + $this->getNumPayloadBits(), 8);
    }

    public function getPayloadLength()
    {
        if ($this->defPayLen !== -1) {
            return $this->defPayLen;
        }
        $short = $this->getFirstPayloadVal();
        if ($short < 126) {
            return $this->defPayLen = $short;
        }
        if ($this->bytesRecvd < 1 + $this->getNumPayloadBytes()) {
            throw $this->underflow('The length of the payload is not complete');
        }
        $length = unpack($short === 126 ? 'n' : 'J', substr($this->data, 2, $this->getNumPayloadBytes() - 1));

        return $this->defPayLen = $length[1];
    }

    /**
     * @return int
     */
    public function getPayloadStartingByte()
    {
        return 1 + $this->getNumPayloadBytes() + ($this->isMasked() ? static::MASK_LENGTH : 0);
    }

    public function getPayload()
    {
        $payload = $this->rawPayload();

        return $this->isMasked() ? $this->applyMask($this->getMaskingKey(), $payload) : $payload;
    }

    public function getContents()
    {
        $this->mustBeWhole();

        return substr($this->data, 0, $this->getPayloadStartingByte() + $this->getPayloadLength());
    }

    public function __toString(): string
    {
        return $this->getPayload();
    }

    /**
     * Removes and returns the bytes after the end of the frame.
     *
     * @return string
     */
    public function extractOverflow()
    {
        if (!$this->isCoalesced()) {
            return '';
        }
        $end = $this->getPayloadStartingByte() + $this->getPayloadLength();
        $overflow = substr($this->data, $end);
        if ($overflow !== '') {
            $this->data = substr($this->data, 0, $end);
            $this->bytesRecvd = $end;
        }

        return $overflow;
    }

    /**
     * Whether the header is complete up to the masking key.
     */
    private function hasHeader(): bool
    {
        return $this->secondByte !== -1 && $this->bytesRecvd >= 1 + $this->getNumPayloadBytes();
    }

    private function firstByte(): int
    {
        return $this->firstByte !== -1 ? $this->firstByte : throw $this->underflow('The frame has no first byte');
    }

    private function secondByte(): int
    {
        return $this->secondByte !== -1 ? $this->secondByte : throw $this->underflow('The frame has no second byte');
    }

    private function mustBeWhole(): void
    {
        if (!$this->isCoalesced()) {
            throw $this->underflow('The payload is not complete');
        }
    }

    /**
     * The payload as on the wire.
     */
    private function rawPayload(): string
    {
        $this->mustBeWhole();

        return substr($this->data, $this->getPayloadStartingByte(), $this->getPayloadLength());
    }

    private function rewrite(int $secondByte, string $maskingKey, string $payload): void
    {
        $length = substr($this->data, 2, $this->getNumPayloadBytes() - 1);
        $this->secondByte = $secondByte;
        $this->data = $this->data[0] . chr($secondByte) . $length . $maskingKey . $payload;
        $this->bytesRecvd = strlen($this->data);
    }

    private function underflow(string $message): \UnderflowException
    {
        $make = $this->underflow;

        return $make === null ? new \UnderflowException($message) : $make($message);
    }
}
