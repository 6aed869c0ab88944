<?php

declare(strict_types=1);

namespace Ratchet\WebSocket;

use Ratchet\AbstractConnectionDecorator;
use Ratchet\ConnectionInterface;
use Ratchet\Native\Link;
use Ratchet\RFC6455\Messaging\DataInterface;
use Ratchet\RFC6455\Messaging\Frame;
use Ratchet\RFC6455\Messaging\FrameInterface;
use Ratchet\RFC6455\Messaging\MessageInterface;
use Sprocket\Connection;
use Sprocket\InvalidPayload;

/**
 * The connection that an application gets.
 *
 * @property \stdClass $WebSocket `closing`: whether it is closed or about to be; after the end
 *                                `closeCode` and `closeReason` (RFC 6455 section 7.1.5).
 */
class WsConnection extends AbstractConnectionDecorator
{
    /** @var Connection|null Where messages go; null if another component or React is in between. */
    private ?Connection $native = null;

    /** @var Link|null */
    private ?Link $link = null;

    /** @var list<FrameInterface> Frames of a message that is not complete yet. */
    private array $fragments = [];

    public function __construct(ConnectionInterface $conn)
    {
        parent::__construct($conn);
        if ($conn instanceof Link) {
            $this->link = $conn;
            $this->native = $conn->__native;
        }
    }

    /**
     * Sends a message: a string as text, frames and messages with their own opcode.
     *
     * @param string|int|float|bool|\Stringable|DataInterface|null $msg
     *
     * @return WsConnection
     *
     * @throws \UnderflowException If it is null, or an incomplete frame.
     * @throws \TypeError          If it cannot be sent.
     */
    public function send($msg)
    {
        if ($this->native === null) {
            return $this->sendThrough($msg);
        }
        if (is_string($msg)) {
            try {
                $this->native->send($msg);
            } catch (InvalidPayload) {
                // Ratchet sends such text unchanged, and the client fails the connection.
                $this->native->send($msg, true);
            }
        } else {
            $this->sendNative($msg instanceof DataInterface ? $msg : self::frame($msg), $this->link);
        }

        return $this;
    }

    /**
     * Closes with a code, or with a close frame.
     *
     * @param int|DataInterface $code
     */
    public function close($code = 1000)
    {
        if ($this->native !== null) {
            [$code, $reason] = $code instanceof DataInterface ? self::closing($code->getPayload()) : [(int) $code, ''];
            $this->link->__engine->close($this->link, $code, $reason);

            return;
        }
        if ($this->WebSocket->closing) {
            return;
        }
        $this->send($code instanceof DataInterface ? $code : new Frame(pack('n', $code), true, Frame::OP_CLOSE));
        $this->WebSocket->closing = true;
        $this->getConnection()->close();
    }

    /**
     * @internal The native server has sent the 101; until then, frames wait in the link.
     */
    public function nativeOpen(Link $link): void
    {
        if ($this->link === $link) {
            $this->native = $link->__native;
        }
    }

    /**
     * @internal Passes a frame or a message to the native server, which frames it anew.
     */
    public function sendNative(DataInterface $data, Link $link): void
    {
        $native = $link->__native;
        if (!$data instanceof FrameInterface && !$data instanceof MessageInterface) {
            $frame = new Frame();
            $frame->addBuffer($data->getContents());
            $data = $frame;
        }
        if (!$data->isCoalesced()) {
            throw new \UnderflowException('The frame is not complete');
        }
        $opcode = $data->getOpcode();
        if ($data instanceof FrameInterface && ($opcode === Frame::OP_CONTINUE || !$data->isFinal())) {
            $this->fragments[] = $data;
            if (!$data->isFinal()) {
                return;
            }
            $opcode = $this->fragments[0]->getOpcode();
            $data = implode('', array_map('strval', $this->fragments));
            $this->fragments = [];
        }
        $payload = (string) $data;
        switch ($opcode) {
            case Frame::OP_TEXT:
                $native->send($payload, preg_match('//u', $payload) !== 1);
                break;
            case Frame::OP_BINARY:
                $native->send($payload, true);
                break;
            case Frame::OP_PING:
                $native->ping(substr($payload, 0, 125));
                break;
            case Frame::OP_PONG:
                $native->pong(substr($payload, 0, 125));
                break;
            case Frame::OP_CLOSE:
                [$code, $reason] = self::closing($payload);
                $link->__engine->close($link, $code, $reason);
                break;
        }
    }

    /**
     * Sends on a connection that PHP frames, through the wrapped connection of a component or of React.
     */
    private function sendThrough($msg)
    {
        if (!$this->WebSocket->closing) {
            $data = $msg instanceof DataInterface ? $msg : self::frame($msg);
            $this->getConnection()->send($data->getContents());
        }

        return $this;
    }

    private static function frame($msg): Frame
    {
        if (is_array($msg) || (is_object($msg) && !$msg instanceof \Stringable) || is_resource($msg)) {
            throw new \TypeError('A message must be a string or a ' . DataInterface::class . ', ' . get_debug_type($msg) . ' given');
        }
        if ($msg === null) {
            throw new \UnderflowException('A message must not be null');
        }

        return new Frame((string) $msg);
    }

    /**
     * @return array{int, string} Code and reason of a close frame.
     */
    private static function closing(string $payload): array
    {
        return strlen($payload) < 2 ? [1000, ''] : [unpack('n', $payload)[1], substr($payload, 2)];
    }
}
