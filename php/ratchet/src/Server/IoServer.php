<?php

declare(strict_types=1);

namespace Ratchet\Server;

use Ratchet\MessageComponentInterface;
use Ratchet\Native\ComponentTree;
use Ratchet\Native\Engine;
use Ratchet\Native\Failure;
use Ratchet\Native\Listener;
use Ratchet\Native\Log;
use Ratchet\Native\Sockets;
use React\EventLoop\LoopInterface;
use React\Socket\ConnectionInterface as ReactConnection;
use React\Socket\ServerInterface;
use Sprocket\Server;

/**
 * The outermost layer of a stack of components: the server that listens.
 *
 * A stack with an HttpServer in it is served by the native server, which takes over the listening
 * socket. Any other stack speaks a protocol of its own on raw connections: those stay with React, as
 * do stacks with a class that handles connections, handshakes or frames itself ({@see \Ratchet\Native\Departure}).
 */
class IoServer
{
    /** @var LoopInterface|null The loop that serves the connections; timers and streams may be added. */
    public $loop;

    /** @var MessageComponentInterface The outermost component. */
    public $app;

    /** @var ServerInterface The listening socket. */
    public $socket;

    /** @var Engine|null */
    private $engine;

    /** @var bool Whether the log has a line about the missing extension. */
    private static $bare = false;

    /**
     * @param MessageComponentInterface $app    The outermost component.
     * @param ServerInterface           $socket A socket that listens.
     * @param LoopInterface|null        $loop   Required by run(); may be left out if the
     *                                          application runs the loop of the socket itself.
     *
     * @throws \InvalidArgumentException If $loop is not a loop.
     */
    public function __construct(MessageComponentInterface $app, ServerInterface $socket, $loop = null)
    {
        if ($loop !== null && !$loop instanceof LoopInterface) {
            throw new \InvalidArgumentException('Argument #3 ($loop) expected null|' . LoopInterface::class);
        }
        gc_enable();
        set_time_limit(0);
        ob_implicit_flush();

        $this->loop = $loop;
        $this->app = $app;
        $this->socket = $socket;

        $socket->on('connection', [$this, 'handleConnect']);
        $http = ComponentTree::httpServer($app);
        if ($http === null) {
            return;
        }
        if (!class_exists(Server::class)) {
            if (!self::$bare) {
                self::$bare = true;
                $message = 'The extension sprocket is not loaded: React serves WebSockets, with the speed and limits of Ratchet. '
                    . 'Add extension=sprocket to php.ini for anything but development';
                self::warn($loop, 'extension.missing', $message);
            }

            return;
        }
        $listener = Listener::of($socket);
        if ($listener->reason !== null) {
            $event = str_starts_with($listener->reason, 'TLS') ? 'tls.left_to_react' : 'socket.left_to_react';
            self::warn($loop ?? $listener->loop, $event, $listener->reason);

            return;
        }
        $socket->pause();
        $this->engine = new Engine(static::class, $app, $http, $listener, $loop ?? $listener->loop ?? Sockets::loop());
    }

    /**
     * A server with a loop and a socket of its own.
     *
     * @param MessageComponentInterface $component The outermost component.
     * @param int                       $port      0 lets the kernel choose.
     * @param string                    $address   Address to listen on; any by default.
     *
     * @return IoServer
     *
     * @throws \RuntimeException If the address can't be listened on.
     */
    public static function factory(MessageComponentInterface $component, $port = 80, $address = '0.0.0.0')
    {
        $loop = Sockets::loop();

        return new static($component, Sockets::listen("$address:$port", [], $loop), $loop);
    }

    /**
     * Runs the loop. Returns when the application stops it.
     *
     * @throws \RuntimeException If the server was made without a loop.
     */
    public function run()
    {
        if ($this->loop === null) {
            throw new \RuntimeException('This IoServer was created without a loop: pass one, or run the loop of its socket');
        }
        $this->loop->run();
    }

    /**
     * A raw connection was accepted.
     */
    public function handleConnect(ReactConnection $conn)
    {
        $inner = new IoConnection($conn);
        $inner->resourceId = Engine::nextId();
        [$inner->remoteAddress, $inner->remotePort] = self::parts($conn->getRemoteAddress());
        [$inner->localAddress, $inner->localPort] = self::parts($conn->getLocalAddress());
        self::attach($conn, $inner);

        $this->guard($conn, fn () => $this->app->onOpen($inner));
        $conn->on('data', function ($data) use ($conn): void {
            $this->handleData($data, $conn);
        });
        $conn->on('close', function () use ($conn): void {
            $this->handleEnd($conn);
        });
        $conn->on('error', function (\Exception $e) use ($conn): void {
            $this->handleError($e, $conn);
        });
    }

    /**
     * Data of a raw connection arrived.
     *
     * @param string          $data
     * @param ReactConnection $conn
     */
    public function handleData($data, $conn)
    {
        $this->guard($conn, fn () => $this->app->onMessage($conn->decor, $data));
    }

    /**
     * A raw connection is over.
     *
     * @param ReactConnection $conn
     */
    public function handleEnd($conn)
    {
        $this->guard($conn, fn () => $this->app->onClose($conn->decor));
        unset($conn->decor);
    }

    /**
     * A callback of a raw connection threw, or its socket failed.
     *
     * @param ReactConnection $conn
     */
    public function handleError(\Exception $e, $conn)
    {
        Failure::tell($this->app, $conn->decor, $e);
    }

    /**
     * @return array{string, int} Address and port of a React address; an empty one and 0 if it has none.
     */
    private static function parts(?string $address): array
    {
        $parts = parse_url(str_contains((string) $address, '://') ? $address : "tcp://$address");

        return [trim((string) ($parts['host'] ?? ''), '[]'), (int) ($parts['port'] ?? 0)];
    }

    private function guard($conn, \Closure $callback): void
    {
        try {
            $callback();
        } catch (\Throwable $e) {
            $this->handleError(Failure::asException($e), $conn);
        }
    }

    /**
     * Writes a line when the loop runs: a logger may be set until then.
     */
    private static function warn(?LoopInterface $loop, string $event, string $message): void
    {
        $write = static fn () => Log::write('warning', $event, $message);
        $loop === null ? $write() : $loop->futureTick($write);
    }

    /**
     * React's class does not declare the property `decor`. PHP 8.2 and later deprecate such dynamic properties,
     * which Ratchet and its applications use.
     */
    private static function attach(ReactConnection $conn, IoConnection $inner): void
    {
        set_error_handler(static fn () => true, E_DEPRECATED);
        try {
            $conn->decor = $inner;
        } finally {
            restore_error_handler();
        }
    }
}
