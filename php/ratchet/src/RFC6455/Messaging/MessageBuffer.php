<?php

declare(strict_types=1);

namespace Ratchet\RFC6455\Messaging;

use Ratchet\Native\MemoryLimit;
use Ratchet\RFC6455\Handshake\PermessageDeflateOptions;

/**
 * Parses bytes into messages (RFC 6455 section 5), for client libraries, and for servers on connections
 * that React serves.
 */
class MessageBuffer
{
    private CloseFrameChecker $closeFrameChecker;

    /** @var callable */
    private $onMessage;

    /** @var callable */
    private $onControl;

    /** @var callable|null */
    private $exceptionFactory;

    /** @var callable|null */
    private $sender;

    private bool $checkForMask;

    private ?int $maxMessage;

    private ?int $maxFrame;

    private ?Deflater $deflater = null;

    /** @var string Bytes of an incomplete frame. */
    private string $pending = '';

    /** @var Message|null An incomplete message. */
    private ?Message $message = null;

    /** @var bool Set after a violation of the protocol; further bytes are ignored. */
    private bool $failed = false;

    /** @var int|null Opcode of a message that is being sent in several frames. */
    private ?int $streaming = null;

    /**
     * @param callable      $onMessage             `function (MessageInterface $message, MessageBuffer $buffer)`
     * @param callable|null $onControl             `function (FrameInterface $frame, MessageBuffer $buffer)`; also
     *                                             gets the close frame that answers a violation.
     * @param bool          $expectMask            True for a server, whose clients must mask.
     * @param callable|null $exceptionFactory      For the frames that are made.
     * @param int|null      $maxMessagePayloadSize Bytes; null for a quarter of memory_limit, 0 for no limit.
     * @param int|null      $maxFramePayloadSize   Likewise.
     * @param callable|null $sender                `function (string $bytes)`; needed to send, and for compression.
     *
     * @throws \InvalidArgumentException If a size is negative, or compression has no sender.
     */
    public function __construct(
        CloseFrameChecker $frameChecker,
        callable $onMessage,
        ?callable $onControl = null,
        $expectMask = true,
        $exceptionFactory = null,
        $maxMessagePayloadSize = null,
        $maxFramePayloadSize = null,
        ?callable $sender = null,
        ?PermessageDeflateOptions $permessageDeflateOptions = null
    ) {
        $this->closeFrameChecker = $frameChecker;
        $this->onMessage = $onMessage;
        $this->onControl = $onControl ?? static function () {
        };
        $this->checkForMask = (bool) $expectMask;
        $this->exceptionFactory = $exceptionFactory;
        $this->maxMessage = self::limit($maxMessagePayloadSize, 'maxMessagePayloadSize');
        $this->maxFrame = self::limit($maxFramePayloadSize, 'maxFramePayloadSize');
        $this->sender = $sender;
        if ($permessageDeflateOptions?->isEnabled()) {
            if ($sender === null) {
                throw new \InvalidArgumentException('Compression needs a sender');
            }
            $this->deflater = new Deflater($permessageDeflateOptions, $this->checkForMask);
        }
    }

    /**
     * Processes bytes of the peer.
     *
     * @param string $data
     */
    public function onData($data)
    {
        $buffer = $this->pending . $data;
        $this->pending = '';
        $offset = 0;
        while (!$this->failed && ($size = $this->nextFrame($buffer, $offset)) !== null) {
            $frame = $this->newFrame();
            $frame->addBuffer(substr($buffer, $offset, $size));
            $offset += $size;
            $this->onFrame($frame);
        }
        if (!$this->failed) {
            $this->pending = substr($buffer, $offset);
        }
    }

    /**
     * Checks a frame by itself and against those before it.
     *
     * @return FrameInterface The frame, or a close frame that says what is wrong.
     */
    public function frameCheck(FrameInterface $frame)
    {
        [$first, $second, $third] = $frame instanceof Frame ? [$frame->getRsv1(), $frame->getRsv2(), $frame->getRsv3()] : [false, false, false];
        $compressed = $first && $this->deflater !== null && $this->message === null && $frame->getOpcode() < 3;
        if (($first && !$compressed) || $second || $third) {
            return $this->newCloseFrame(Frame::CLOSE_PROTOCOL, 'Reserved bits must not be set');
        }
        if ($frame->isMasked() !== $this->checkForMask) {
            return $this->newCloseFrame(Frame::CLOSE_PROTOCOL, 'Ratchet detected an incorrect frame mask');
        }
        $opcode = $frame->getOpcode();
        if ($opcode > 2) {
            return $this->checkControl($frame);
        }
        if (($opcode === Frame::OP_CONTINUE) !== ($this->message !== null)) {
            return $this->newCloseFrame(Frame::CLOSE_PROTOCOL, 'Continuation frames must follow the first frame of a message');
        }

        return $frame;
    }

    /**
     * @return bool|int True, or the code to close with.
     */
    public function checkMessage(MessageInterface $message)
    {
        return $message->isBinary() || self::isUtf8($message->getPayload()) ? true : Frame::CLOSE_BAD_PAYLOAD;
    }

    /**
     * @return Message
     */
    public function newMessage()
    {
        return new Message();
    }

    /**
     * @return Frame
     */
    public function newFrame($payload = null, $final = null, $opcode = null)
    {
        return new Frame($payload, $final ?? true, $opcode ?? Frame::OP_TEXT, $this->exceptionFactory);
    }

    /**
     * @return Frame
     */
    public function newCloseFrame($code, $reason = '')
    {
        return $this->newFrame(pack('n', $code) . $reason, true, Frame::OP_CLOSE);
    }

    /**
     * Sends a frame, compressed and masked as this side must.
     *
     * @throws \Exception If there is no sender.
     */
    public function sendFrame(Frame $frame)
    {
        $sender = $this->sender;
        if ($sender === null) {
            throw new \Exception('A MessageBuffer without a sender can\'t send');
        }
        if ($this->deflater !== null && in_array($frame->getOpcode(), [Frame::OP_TEXT, Frame::OP_BINARY], true) && $frame->isFinal()) {
            $frame = $this->newFrame($this->deflater->deflate($frame->getPayload()), true, $frame->getOpcode())->setRsv1();
        }
        if (!$this->checkForMask) {
            $frame->maskPayload();
        }
        $sender($frame->getContents());
    }

    /**
     * Sends a message, or a part of one if $final is false.
     */
    public function sendMessage($messagePayload, $final = true, $isBinary = false)
    {
        $opcode = $this->streaming === null ? ($isBinary ? Frame::OP_BINARY : Frame::OP_TEXT) : Frame::OP_CONTINUE;
        $this->streaming = $final ? null : $opcode;
        $this->sendFrame($this->newFrame($messagePayload, $final, $opcode));
    }

    /**
     * Length of the frame at an offset, in bytes; null if it is incomplete.
     */
    private function nextFrame(string $buffer, int $offset): ?int
    {
        $available = strlen($buffer) - $offset;
        if ($available < 2) {
            return null;
        }
        $second = ord($buffer[$offset + 1]);
        $length = $second & 0x7f;
        $header = 2 + (($second & 0x80) === 0 ? 0 : Frame::MASK_LENGTH);
        if ($length > 125) {
            $bytes = $length === 126 ? 2 : 8;
            if ($available < 2 + $bytes) {
                return null;
            }
            $length = unpack($bytes === 2 ? 'n' : 'J', $buffer, $offset + 2)[1];
            $header += $bytes;
        }
        if ($length < 0) {
            return $this->fail(Frame::CLOSE_PROTOCOL, 'The length of the frame is invalid');
        }
        if ($this->maxFrame !== null && $length > $this->maxFrame) {
            return $this->fail(Frame::CLOSE_TOO_BIG, 'The frame is too large');
        }
        if ($this->maxMessage !== null && $length + (int) $this->message?->getPayloadLength() > $this->maxMessage) {
            return $this->fail(Frame::CLOSE_TOO_BIG, 'The message is too large');
        }

        return $available < $header + $length ? null : $header + $length;
    }

    private function onFrame(Frame $frame): void
    {
        $checked = $this->frameCheck($frame);
        if ($checked !== $frame) {
            $this->failed = true;
            ($this->onControl)($checked, $this);

            return;
        }
        $frame->unMaskPayload();
        if ($frame->getOpcode() > 2) {
            $this->failed = $frame->getOpcode() === Frame::OP_CLOSE;
            ($this->onControl)($frame, $this);

            return;
        }
        $this->message ??= $this->newMessage();
        $this->message->addFrame($frame);
        if ($frame->isFinal()) {
            $message = $this->message;
            $this->message = null;
            $this->onWhole($message);
        }
    }

    private function onWhole(Message $message): void
    {
        if ($message->getRsv1()) {
            $payload = $this->deflater->inflate($message->getPayload(), $this->maxMessage);
            if ($payload === null) {
                $this->fail(Frame::CLOSE_BAD_PAYLOAD, 'The compressed data is invalid or too large');

                return;
            }
            $message = Message::fromPayload($payload, $message->isBinary());
        }
        if ($this->checkMessage($message) !== true) {
            $this->fail(Frame::CLOSE_BAD_PAYLOAD, 'Ratchet detected an invalid UTF-8 payload');

            return;
        }
        ($this->onMessage)($message, $this);
    }

    private function checkControl(FrameInterface $frame): FrameInterface
    {
        if (!$frame->isFinal() || $frame->getPayloadLength() > 125) {
            return $this->newCloseFrame(Frame::CLOSE_PROTOCOL, 'A control frame must be final and short');
        }
        $opcode = $frame->getOpcode();
        if ($opcode === Frame::OP_PING || $opcode === Frame::OP_PONG) {
            return $frame;
        }
        if ($opcode !== Frame::OP_CLOSE) {
            return $this->newCloseFrame(Frame::CLOSE_PROTOCOL, 'There is no such opcode');
        }
        $payload = (string) $frame;
        if ($payload === '') {
            return $this->newCloseFrame(Frame::CLOSE_NORMAL);
        }
        if (strlen($payload) === 1 || !($this->closeFrameChecker)(unpack('n', $payload)[1])) {
            return $this->newCloseFrame(Frame::CLOSE_PROTOCOL, 'The close code must not be sent');
        }

        return self::isUtf8(substr($payload, 2))
            ? $frame
            : $this->newCloseFrame(Frame::CLOSE_BAD_PAYLOAD, 'The reason of a close frame must be UTF-8');
    }

    private function fail(int $code, string $reason): ?int
    {
        $this->failed = true;
        ($this->onControl)($this->newCloseFrame($code, $reason), $this);

        return null;
    }

    private static function isUtf8(string $payload): bool
    {
        return preg_match('//u', $payload) === 1;
    }

    /**
     * @return int|null Null for none.
     */
    private static function limit(mixed $size, string $name): ?int
    {
        if ($size !== null) {
            if (!is_numeric($size) || $size < 0 || (float) $size >= 2 ** 63) {
                throw new \InvalidArgumentException("$name must be a number of bytes, not '$size'");
            }

            return (int) $size ?: null;
        }
        return MemoryLimit::quarter();
    }
}
