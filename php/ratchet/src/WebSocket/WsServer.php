<?php

declare(strict_types=1);

namespace Ratchet\WebSocket;

use GuzzleHttp\Psr7\Message as PsrMessage;
use Psr\Http\Message\RequestInterface;
use Psr\Http\Message\ResponseInterface;
use Ratchet\ComponentInterface;
use Ratchet\ConnectionInterface;
use Ratchet\Http\CloseResponseTrait;
use Ratchet\Http\HttpServerInterface;
use Ratchet\MessageComponentInterface as TextComponent;
use Ratchet\Native\KeepAlive;
use Ratchet\Native\Link;
use Ratchet\Native\PingTimer;
use Ratchet\Native\Settings;
use Ratchet\RFC6455\Handshake\NegotiatorInterface;
use Ratchet\RFC6455\Handshake\RequestVerifier;
use Ratchet\RFC6455\Handshake\ServerNegotiator;
use Ratchet\RFC6455\Messaging\CloseFrameChecker;
use Ratchet\RFC6455\Messaging\Frame;
use Ratchet\RFC6455\Messaging\FrameInterface;
use Ratchet\RFC6455\Messaging\Message;
use Ratchet\RFC6455\Messaging\MessageBuffer;
use Ratchet\RFC6455\Messaging\MessageInterface;
use React\EventLoop\LoopInterface;

use const Ratchet\VERSION;

/**
 * Upgrades HTTP requests to WebSockets, and passes their messages to an application.
 *
 * The native server does the handshake, the framing and the pings. For connections that React serves,
 * this class does.
 */
class WsServer implements HttpServerInterface
{
    use CloseResponseTrait;

    /** Headers of a 101 that the native server writes. */
    private const NATIVE_HEADERS = [
        'Upgrade', 'Connection', 'Sec-WebSocket-Accept', 'Sec-WebSocket-Protocol', 'Sec-WebSocket-Extensions', 'X-Powered-By',
    ];

    /** @var TextComponent|MessageComponentInterface */
    private $delegate;

    /** @var \SplObjectStorage<ConnectionInterface, ConnContext> Open connections. */
    protected $connections;

    /** @var bool Whether the application gets messages as objects. */
    private $objects;

    // Applications are known to access these by Reflection, so they have their names of Ratchet.

    /**
     * Decides about handshakes, also on the native server. An application may configure or replace it.
     *
     * @var NegotiatorInterface
     */
    private $handshakeNegotiator;

    /** @var CloseFrameChecker */
    private $closeFrameChecker;

    /** @var \Closure Makes the exception for a frame that is not complete. */
    private $ueFlowFactory;

    /** @var \Closure Passes a message to the application where PHP parses the frames. */
    private $msgCb;

    /** @var string[] Subprotocols of the application that the negotiator knows. */
    private $named = [];

    /** @var PingTimer|null Pings from PHP. */
    private $keepAlive;

    /** @var bool Whether PHP pings the connections of the native server too. */
    private $pingNative = false;

    /**
     * @param ComponentInterface $component A MessageComponentInterface, of this namespace or the one above.
     *
     * @throws \UnexpectedValueException If it is neither.
     * @throws \DomainException          If this PHP cannot validate UTF-8.
     */
    public function __construct(ComponentInterface $component)
    {
        if (!$component instanceof MessageCallableInterface && !$component instanceof TextComponent) {
            throw new \UnexpectedValueException(sprintf(
                'A WsServer needs a %s or a %s, %s given',
                TextComponent::class,
                MessageComponentInterface::class,
                $component::class
            ));
        }
        if (@preg_match('//u', "\u{2713}") !== 1) {
            throw new \DomainException('The PCRE library of this PHP has no support for UTF-8');
        }
        $this->delegate = $component;
        $this->objects = $component instanceof MessageCallableInterface;
        $this->connections = new \SplObjectStorage();
        $this->closeFrameChecker = new CloseFrameChecker();
        $negotiator = new ServerNegotiator(new RequestVerifier());
        $negotiator->setStrictSubProtocolCheck(null);
        $this->handshakeNegotiator = $negotiator;
        $this->ueFlowFactory = static fn () => new \UnderflowException('The frame is not complete');
        $this->msgCb = function (ConnectionInterface $conn, MessageInterface $message): void {
            $this->delegate->onMessage($conn, $this->objects ? $message : $message->getPayload());
        };
    }

    /**
     * @throws \UnexpectedValueException If there is no request.
     */
    public function onOpen(ConnectionInterface $conn, ?RequestInterface $request = null)
    {
        if ($request === null) {
            throw new \UnexpectedValueException('A WsServer needs a request: wrap it in an HttpServer');
        }
        $conn->httpRequest = $request;
        $conn->WebSocket = new \stdClass();
        $conn->WebSocket->closing = false;

        $link = Link::within($conn);
        if ($link?->__ended) {
            // A component has refused the client and still passed it on.
            return;
        }
        if ($link?->__exchange?->handshake !== null) {
            return $this->upgrade($link, $conn, $request);
        }
        $response = $this->negotiator()->handshake($request)->withHeader('X-Powered-By', VERSION);
        $conn->send(self::raw($response));
        if ($response->getStatusCode() !== 101) {
            return $conn->close();
        }
        $this->open($conn, $this->buffer($conn));
    }

    public function onMessage(ConnectionInterface $from, $msg)
    {
        if (!isset($this->connections[$from])) {
            return;
        }
        $context = $this->connections[$from];
        $delegate = $this->delegate;
        if ($context->buffer !== null) {
            if (!$context->connection->WebSocket->closing) {
                $context->buffer->onData($context->link === null ? $msg : self::framed($msg, $context->link->__binary));
            }
        } elseif ($delegate instanceof MessageCallableInterface) {
            // @mago-expect analysis:invalid-argument (A class may be of both interfaces.)
            $delegate->onMessage($context->connection, Message::fromPayload($msg, $context->link->__binary));
        } else {
            $delegate->onMessage($context->connection, $msg);
        }
    }

    public function onClose(ConnectionInterface $conn)
    {
        if (isset($this->connections[$conn])) {
            $context = $this->connections[$conn];
            unset($this->connections[$conn]);
            $this->keepAlive?->forget($context->connection);
            $this->delegate->onClose($context->connection);
        }
    }

    public function onError(ConnectionInterface $conn, \Exception $e)
    {
        if (isset($this->connections[$conn])) {
            $this->delegate->onError($this->connections[$conn]->connection, $e);
        } else {
            $conn->close();
        }
    }

    /**
     * Handles a control frame. The native server answers pings itself and does not report them.
     */
    public function onControlFrame(FrameInterface $frame, WsConnection $conn)
    {
        switch ($frame->getOpcode()) {
            case Frame::OP_CLOSE:
                $conn->close($frame);
                break;
            case Frame::OP_PING:
                $conn->send(new Frame($frame->getPayload(), true, Frame::OP_PONG));
                break;
            case Frame::OP_PONG:
                $this->keepAlive?->pong($conn);
                break;
        }
    }

    /**
     * Whether to refuse clients with which no subprotocol can be agreed on. Without this call
     * they are refused only if the application names subprotocols.
     *
     * @param bool $enable
     */
    public function setStrictSubProtocolCheck($enable)
    {
        $this->handshakeNegotiator->setStrictSubProtocolCheck((bool) $enable);
    }

    /**
     * Pings the peers, and closes the connections of those that are gone.
     *
     * @param LoopInterface $loop     That of the IoServer.
     * @param int|float     $interval Seconds without a sign of life until a ping, and from the ping to the end.
     */
    public function enableKeepAlive(LoopInterface $loop, $interval = 30)
    {
        $this->pingNative = !KeepAlive::request($loop, (float) $interval);
        $this->keepAlive?->cancel();
        $this->keepAlive = new PingTimer($loop, (float) $interval, $this->pinged(...));
        // An onOpen() of a subclass may open connections without this class.
        if ($this->pinged() !== [] || (new \ReflectionMethod($this, 'onOpen'))->class !== self::class) {
            $this->keepAlive->start();
        }
    }

    /**
     * @return list<WsConnection> Connections that PHP pings.
     */
    private function pinged(): array
    {
        $pinged = [];
        foreach ($this->connections as $conn) {
            $context = $this->connections[$conn];
            if ($context->link === null || $this->pingNative) {
                $pinged[] = $context->connection;
            }
        }

        return $pinged;
    }

    /**
     * @internal The native server has sent the 101.
     */
    public function nativeOpen(Link $link): void
    {
        $outer = $link->__outer;
        if ($outer === null) {
            return;
        }
        $context = $this->connections[$outer] ?? null;
        $link->__objects = $this->objects;
        // A subclass may have put a buffer of its own into the context.
        if ($context?->buffer === null && $link->__engine->isDirect($this, $link)) {
            $link->__direct = $this->delegate;
        }
        if ($context !== null) {
            $context->connection->nativeOpen($link);
        } elseif (!$link->__early) {
            $this->open($outer, null, $link);
        }
    }

    /**
     * @internal The native server has received a pong.
     */
    public function nativePong(Link $link, string $payload): void
    {
        $this->onControlFrame(new Frame($payload, true, Frame::OP_PONG), $link->__connection);
    }

    /**
     * @internal The connection is over; onClose follows.
     */
    public function nativeClosed(Link $link, int $code, string $reason, bool $byPeer): void
    {
        $state = $link->__outer->WebSocket;
        $state->closing = true;
        $state->closeCode = $code;
        $state->closeReason = $reason;
        if ($byPeer && static::class !== self::class && $code !== Frame::CLOSE_ABNORMAL && $link->__connection !== null) {
            $payload = $code === Frame::CLOSE_NO_STATUS ? '' : pack('n', $code) . $reason;
            $this->onControlFrame(new Frame($payload, true, Frame::OP_CLOSE), $link->__connection);
        }
    }

    /**
     * @internal A message as an object.
     */
    public static function nativeMessage(string $payload, bool $binary): Message
    {
        return Message::fromPayload($payload, $binary);
    }

    private function upgrade(Link $link, ConnectionInterface $conn, RequestInterface $request): void
    {
        $negotiator = $this->negotiator();
        $agreed = $negotiator::class === ServerNegotiator::class
            ? $negotiator->agreeOn($link->__exchange->request->subprotocols())
            : false;
        $headers = [];
        if ($agreed === false) {
            $response = $negotiator->handshake($request);
            if ($response->getStatusCode() !== 101) {
                $conn->send(self::raw($response->withHeader('X-Powered-By', VERSION)));
                $conn->close();

                return;
            }
            $agreed = $response->getHeaderLine('Sec-WebSocket-Protocol') ?: null;
            foreach (self::NATIVE_HEADERS as $name) {
                $response = $response->withoutHeader($name);
            }
            $headers = $response->getHeaders();
        }
        $link->__engine->accept($link, $this, $conn, $agreed, $headers);
        if (!$link->__ended && !$link->__engine->opensPlainly($this, $link)) {
            // Code of the application around this call may expect an open connection when it returns.
            $link->__early = true;
            $this->open($conn, null, $link);
        }
    }

    private function open(ConnectionInterface $conn, ?MessageBuffer $buffer, ?Link $link = null): void
    {
        $connection = new WsConnection($conn);
        if ($link !== null) {
            $link->__connection = $connection;
        }
        $this->connections[$conn] = new ConnContext($connection, $buffer, $link);
        if ($link === null || $this->pingNative) {
            $this->keepAlive?->start();
        }
        $this->delegate->onOpen($connection);
    }

    /**
     * The parser of frames for a connection that React serves.
     */
    private function buffer(ConnectionInterface $conn): MessageBuffer
    {
        return new MessageBuffer(
            $this->closeFrameChecker,
            function (MessageInterface $message) use ($conn): void {
                $connection = $this->connections[$conn]->connection;
                if (!$connection->WebSocket->closing) {
                    ($this->msgCb)($connection, $message);
                }
            },
            function (FrameInterface $frame) use ($conn): void {
                if (!isset($this->connections[$conn])) {
                    return;
                }
                $connection = $this->connections[$conn]->connection;
                if ($frame->getOpcode() === Frame::OP_CLOSE) {
                    $payload = $frame->getPayload();
                    $connection->WebSocket->closeCode = strlen($payload) > 1 ? unpack('n', $payload)[1] : Frame::CLOSE_NO_STATUS;
                    $connection->WebSocket->closeReason = substr($payload, 2);
                }
                $this->onControlFrame($frame, $connection);
            },
            true,
            $this->ueFlowFactory,
            Settings::maxMessageSize()
        );
    }

    /**
     * The negotiator, with the subprotocols that the application names now, unless others were set.
     */
    private function negotiator(): NegotiatorInterface
    {
        $negotiator = $this->handshakeNegotiator;
        $delegate = $this->delegate;
        if (
            $delegate instanceof WsServerInterface
            && $negotiator instanceof ServerNegotiator
            && $negotiator->supportedSubProtocols() === $this->named
        ) {
            $this->named = array_values($delegate->getSubProtocols());
            $negotiator->setSupportedSubProtocols($this->named);
        }

        return $negotiator;
    }

    /**
     * A message of the native server as a client's frame, for a buffer that a subclass has installed.
     */
    private static function framed(string $payload, bool $binary): string
    {
        $length = strlen($payload);
        $head = chr(0x80 | ($binary ? Frame::OP_BINARY : Frame::OP_TEXT)) . match (true) {
            $length < 126 => chr(0x80 | $length),
            $length < 65536 => chr(0x80 | 126) . pack('n', $length),
            default => chr(0x80 | 127) . pack('J', $length),
        };

        // The masking key of four zeros leaves the payload as it is.
        return $head . "\0\0\0\0" . $payload;
    }

    private static function raw(ResponseInterface $response): string
    {
        return method_exists(PsrMessage::class, 'toString') ? PsrMessage::toString($response) : \GuzzleHttp\Psr7\str($response);
    }
}
