<?php

declare(strict_types=1);

namespace Ratchet\RFC6455\Messaging;

/**
 * A message. One received by the native server holds only a payload, and creates a frame of it on demand.
 */
class Message implements \IteratorAggregate, MessageInterface
{
    /** @var list<FrameInterface>|null Null for a received payload without frames. */
    private ?array $frames = [];

    private int $length = 0;

    private string $payload = '';

    private int $opcode = Frame::OP_TEXT;

    public function __construct()
    {
    }

    /**
     * @internal A whole message from a payload.
     */
    public static function fromPayload(string $payload, bool $binary): self
    {
        $message = new self();
        $message->frames = null;
        $message->payload = $payload;
        $message->length = strlen($payload);
        $message->opcode = $binary ? Frame::OP_BINARY : Frame::OP_TEXT;

        return $message;
    }

    #[\ReturnTypeWillChange]
    public function getIterator()
    {
        return new \ArrayIterator($this->frames());
    }

    #[\ReturnTypeWillChange]
    public function count()
    {
        return $this->frames === null ? 1 : count($this->frames);
    }

    public function isCoalesced()
    {
        if ($this->frames === null) {
            return true;
        }
        $last = $this->frames[count($this->frames) - 1] ?? null;

        return $last !== null && $last->isCoalesced() && $last->isFinal();
    }

    public function addFrame(FrameInterface $fragment)
    {
        $this->frames ??= $this->frames();
        $this->frames[] = $fragment;
        $this->length += $fragment->getPayloadLength();

        return $this;
    }

    public function getOpcode()
    {
        if ($this->frames === null) {
            return $this->opcode;
        }
        if ($this->frames === []) {
            throw new \UnderflowException('A message without frames has no opcode');
        }

        return $this->frames[0]->getOpcode();
    }

    public function getPayloadLength()
    {
        return $this->length;
    }

    public function getPayload()
    {
        $this->mustBeWhole();

        return $this->__toString();
    }

    public function getContents()
    {
        $this->mustBeWhole();

        return implode('', array_map(static fn ($frame) => $frame->getContents(), $this->frames()));
    }

    public function __toString(): string
    {
        return $this->frames === null ? $this->payload : implode('', array_map('strval', $this->frames));
    }

    public function isBinary()
    {
        return $this->getOpcode() === Frame::OP_BINARY;
    }

    /**
     * @return bool Whether it is compressed (RFC 7692).
     */
    public function getRsv1()
    {
        $first = $this->frames[0] ?? null;

        return $first instanceof Frame && $first->getRsv1();
    }

    /**
     * @return list<FrameInterface>
     */
    private function frames(): array
    {
        return $this->frames ?? [new Frame($this->payload, true, $this->opcode)];
    }

    private function mustBeWhole(): void
    {
        if (!$this->isCoalesced()) {
            throw new \UnderflowException('The message is not complete yet');
        }
    }
}
