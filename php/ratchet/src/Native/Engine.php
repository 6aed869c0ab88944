<?php

declare(strict_types=1);

namespace Ratchet\Native;

use Ratchet\ConnectionInterface;
use Ratchet\Http\HttpServer;
use Ratchet\MessageComponentInterface;
use Ratchet\Server\IoServer;
use Ratchet\WebSocket\WsServer;
use React\EventLoop\LoopInterface;
use React\EventLoop\TimerInterface;
use Sprocket\Connection;
use Sprocket\Handshake;
use Sprocket\Request;
use Sprocket\Response;
use Sprocket\Server;
use Sprocket\TlsException;

use const Ratchet\VERSION;

/**
 * Runs a stack of components on the native server, inside of a React loop.
 *
 * The native server starts on the first turn of the loop and not earlier: until then an
 * application may fork, drop privileges, and ask for keep-alive.
 */
final class Engine
{
    /** Seconds between checks for changes that cause no event. */
    private const TEND_INTERVAL = 1.0;

    /** Seconds after which a handshake that was accepted and never opened is given up. */
    private const OPEN_TIMEOUT = 5.0;

    private static int $lastId = 0;

    private ?Server $server = null;

    /** @var resource|null Readable while the native server has events; the loop watches it. */
    private $stream = null;

    private ?TimerInterface $timer = null;

    /** Whether callbacks are running. */
    private bool $polling = false;

    /** Whether the stream is out of the loop until the running callback returns. */
    private bool $paused = false;

    /** @var array<int, Link> Links without an open WebSocket: not answered, or not open yet. */
    private array $waiting = [];

    /** Number of streamed responses that have not ended. */
    private int $streams = 0;

    /** @var list<Link> Links whose onClose runs on the next turn of the loop. */
    private array $ended = [];

    public function __construct(
        /** @var class-string<IoServer> */
        private readonly string $ioServer,
        private readonly MessageComponentInterface $app,
        private readonly HttpServer $http,
        private readonly Listener $listener,
        private readonly LoopInterface $loop,
    ) {
        $loop->futureTick(function (): void {
            $this->start();
        });
    }

    /**
     * Numbers for connections, unique in the process over all servers.
     */
    public static function nextId(): int
    {
        return ++self::$lastId;
    }

    /**
     * Accepts a handshake on behalf of a WsServer.
     *
     * @param array<string, list<string>> $headers Of the 101.
     */
    public function accept(Link $link, WsServer $server, ConnectionInterface $outer, ?string $subprotocol, array $headers = []): void
    {
        $exchange = $link->__exchange;
        if ($exchange?->handshake === null || $exchange->accepted !== null) {
            throw new \LogicException('This connection has no handshake to accept');
        }
        $link->__server = $server;
        $link->__outer = $outer;
        $exchange->output = '';
        $exchange->accepted = microtime(true);
        if (!$exchange->handshake->accept($subprotocol, ['X-Powered-By' => VERSION] + $headers, $link)) {
            $this->end($link);
        }
    }

    /**
     * Answers a request with what the components have written.
     */
    public function answer(Link $link): void
    {
        $exchange = $link->__exchange;
        if ($exchange->accepted !== null) {
            $exchange->closed = true;

            return;
        }
        if ($exchange->streamed !== null) {
            $exchange->streamed->stream->end();
        } else {
            $exchange->answer();
        }
        $this->end($link);
    }

    /**
     * Takes bytes of a response from a component. A response written at once and then closed is sent as
     * a whole; any other is streamed.
     */
    public function write(Link $link, string $data): void
    {
        $exchange = $link->__exchange;
        if ($exchange->streamed === null) {
            $exchange->output .= $data;
            if ($exchange->accepted === null && preg_match('~^HTTP/1\.\d 101\b~', $exchange->output)) {
                $message = 'A component wrote a 101 of its own, which the native server can\'t send: the client gets a 500. Let '
                    . get_debug_type($this->http) . '\'s WsServer answer handshakes, or override IoServer::handleConnect()'
                    . ' to be served by React';
                Log::write('error', 'handshake.foreign', $message, ['remote' => $link->remoteAddress]);
                $exchange->output = '';
                $exchange->fallback = 500;
                $this->answer($link);

                return;
            }
            if (strlen($exchange->output) > Exchange::WHOLE) {
                $this->stream($link);
            } elseif ($exchange->deferred && !$exchange->settling) {
                $exchange->settling = true;
                $this->loop->futureTick(fn () => $this->settle($link));
            }

            return;
        }
        if (!$exchange->streamed->write($data)) {
            $message = "A client read its response too slowly and was disconnected (sendBufferLimit). See Ratchet\Native\Backpressure";
            Log::write('warning', 'response.slow', $message, ['remote' => $link->remoteAddress]);
        }
        if ($exchange->streamed->complete) {
            $this->answer($link);
        }
    }

    /**
     * Runs on the turn of the loop after a component has written without closing: sends the response if it
     * is complete, and streams it otherwise.
     */
    private function settle(Link $link): void
    {
        $exchange = $link->__exchange;
        $exchange->settling = false;
        if ($link->__ended || $exchange->streamed !== null) {
            return;
        }
        if ($exchange->isComplete()) {
            $this->answer($link);
        } else {
            // While the head is incomplete, each further write leads here again.
            $this->stream($link);
        }
    }

    private function stream(Link $link): bool
    {
        $began = $link->__exchange->stream(function () use ($link): void {
            $this->streams--;
            $this->end($link);
        });
        if ($began) {
            $this->streams++;
            if ($link->__exchange->streamed->complete) {
                $this->answer($link);
            }
        }

        return $began;
    }

    /**
     * Starts the closing handshake. As in Ratchet, the connection is over for the components with
     * the next turn of the loop, however long the peer takes to answer.
     */
    public function close(Link $link, int $code, string $reason): void
    {
        if ($link->__ended || $link->__native === null) {
            return;
        }
        try {
            $link->__native->close($code, $reason);
        } catch (\ValueError) {
            // Ratchet sends any number; these may not be sent (RFC 6455 section 7.4).
            $link->__native->close(1000);
        }
        $link->__native->data = null;
        $link->__server->nativeClosed($link, $code, $reason, false);
        $this->end($link);
    }

    /**
     * Whether messages of a connection may go from the native server to the application.
     */
    public function isDirect(WsServer $server, Link $link): bool
    {
        return $link->__outer === $link && ComponentTree::isDirect($this->app, $server, $link);
    }

    /**
     * Whether no code of the application stands between a request and its WsServer, or in the
     * WsServer's onOpen().
     */
    public function opensPlainly(WsServer $server, Link $link): bool
    {
        return $this->isDirect($server, $link) && ComponentTree::isDirect($this->app, $server, $link, 'onOpen');
    }

    /**
     * The native server once it runs, for fan-out below the Ratchet API.
     */
    public function server(): ?Server
    {
        return $this->server;
    }

    private function start(): void
    {
        if ($this->listener->isClosed()) {
            return;
        }
        $departure = $this->listener->isWatched()
            ? 'a listener on \'connection\' of its socket needs React\'s connections'
            : Departure::find($this->ioServer, $this->app);
        if ($departure !== null) {
            Log::write('warning', 'stack.left_to_react', "A stack is left to React: $departure");
            $this->listener->socket->resume();

            return;
        }
        $options = Settings::options($this->app, $this->http, $this->listener, KeepAlive::take($this->loop));
        $this->server = new Server($this->listener->endpoint(), $options);
        $this->server
            ->onUpgrade(function (Handshake $handshake): void {
                $this->listener->isClosed()
                    ? $handshake->reject(503)
                    : $this->begin(new Exchange($handshake->request, $handshake));
            })
            ->onRequest(fn (Request $request): ?Response => $this->respond($request))
            ->onOpen(function (Connection $native): void {
                $this->open($native);
            })
            ->onMessage($this->messageCallback())
            ->onPong(function (Connection $native, string $payload): void {
                if ($native->data instanceof Link) {
                    $this->guard($native->data, fn () => $native->data->__server->nativePong($native->data, $payload));
                }
            })
            ->onClose(function (Connection $native, int $code, string $reason): void {
                $this->closed($native, $code, $reason);
            })
            ->onError(static function (\Throwable $e): void {
                Failure::report($e, 'a callback');
            });
        RefusedBody::watch($this->server, $options->maxBodySize);
        try {
            $this->server->start();
        } catch (TlsException $e) {
            // PHP reads some that the native server does not, such as keys in OpenSSL's old encryption.
            $message = "TLS is left to React: {$e->getMessage()}";
            Log::write('warning', 'tls.left_to_react', $message, ['exception' => $e]);
            $this->server = null;
            $this->listener->socket->resume();

            return;
        }
        $this->stream = $this->server->stream();
        $this->watch();
        $this->timer = $this->loop->addPeriodicTimer(self::TEND_INTERVAL, function (): void {
            $this->tend();
        });
    }

    /**
     * The callback for every message: the hot path.
     */
    private function messageCallback(): \Closure
    {
        return function (Connection $native, string $payload, bool $binary): void {
            $link = $native->data;
            if ($link === null) {
                return;
            }
            try {
                if ($link->__direct === null) {
                    $link->__binary = $binary;
                    $this->app->onMessage($link, $payload);
                } elseif ($link->__objects) {
                    $link->__direct->onMessage($link->__connection, WsServer::nativeMessage($payload, $binary));
                } else {
                    $link->__direct->onMessage($link->__connection, $payload);
                }
            } catch (\Throwable $e) {
                Failure::tell($this->app, $link, $e);
            }
        };
    }

    /**
     * Dispatches events. While a callback runs the loop itself, to wait for something, no further events
     * are dispatched: the stream stays out of the loop until the callback returns.
     */
    private function poll(): int
    {
        if ($this->polling) {
            $this->paused = true;
            $this->loop->removeReadStream($this->stream);

            return 0;
        }
        $this->polling = true;
        try {
            $events = $this->server->poll();
        } finally {
            $this->polling = false;
        }
        if (!$this->server->isRunning()) {
            $this->detach();
        } elseif ($this->paused) {
            $this->watch();
        }

        return $events;
    }

    private function watch(): void
    {
        $this->paused = false;
        $this->loop->addReadStream($this->stream, function (): void {
            $this->poll();
        });
    }

    /**
     * Passes a request through the components as its bytes would pass: first the connection, then the head.
     */
    private function begin(Exchange $exchange): Link
    {
        $link = new Link($this, self::nextId(), $exchange);
        $this->waiting[$link->resourceId] = $link;
        $this->guard($link, function () use ($link, $exchange): void {
            $this->app->onOpen($link);
            if (!$link->__ended) {
                $this->app->onMessage($link, $exchange->head());
            }
        });
        if ($exchange->fallback === 500 && !$link->__ended && $exchange->accepted === null) {
            $this->answer($link);
        }

        return $link;
    }

    private function respond(Request $request): ?Response
    {
        if ($this->listener->isClosed()) {
            return new Response(503);
        }
        $exchange = new Exchange($request);
        $link = $this->begin($exchange);
        if ($exchange->response === null && $exchange->streamed === null) {
            if (!$exchange->isComplete()) {
                $exchange->deferred = true;
                $this->settle($link);

                return null;
            }
            $this->answer($link);
        }

        return $exchange->response;
    }

    private function open(Connection $native): void
    {
        $link = $native->data;
        if (!$link instanceof Link || $link->__ended) {
            $native->data = null;
            $native->terminate();

            return;
        }
        $exchange = $link->__exchange;
        $link->__exchange = null;
        $link->__native = $native;
        unset($this->waiting[$link->resourceId]);
        $this->guard($link, fn () => $link->__server->nativeOpen($link));
        if ($exchange->output !== '') {
            $link->send($exchange->output);
        }
        if ($exchange->closed) {
            $link->close();
        }
    }

    private function closed(Connection $native, int $code, string $reason): void
    {
        $link = $native->data;
        $native->data = null;
        if (!$link instanceof Link || $link->__ended) {
            return;
        }
        $link->__ended = true;
        $this->guard($link, fn () => $link->__server->nativeClosed($link, $code, $reason, true));
        $this->finish($link);
    }

    /**
     * Schedules onClose for the next turn of the loop, so that no callback of a component is nested in
     * another one.
     */
    private function end(Link $link): void
    {
        if ($link->__ended) {
            return;
        }
        $link->__ended = true;
        unset($this->waiting[$link->resourceId]);
        $this->ended[] = $link;
        if (count($this->ended) === 1) {
            $this->loop->futureTick(function (): void {
                $ended = $this->ended;
                $this->ended = [];
                array_map($this->finish(...), $ended);
            });
        }
    }

    private function finish(Link $link): void
    {
        try {
            $this->app->onClose($link);
        } catch (\Throwable $e) {
            // The WsServer has dropped the connection already, so that the application's onError() is not called.
            Failure::report($e, 'onClose');
            Failure::tell($this->app, $link, $e);
        }
        // Breaks reference cycles, so that memory is freed without the cycle collector.
        $link->__outer = $link->__connection = $link->__direct = $link->__server = null;
    }

    private function guard(Link $link, \Closure $callback): void
    {
        try {
            $callback();
        } catch (\Throwable $e) {
            if ($link->__exchange !== null) {
                $link->__exchange->fallback = 500;
            }
            Failure::tell($this->app, $link, $e);
        }
    }

    /**
     * Ends objects whose end no event reports: handshakes whose client has left, and the server once the
     * application has closed its socket and the last connection has ended.
     */
    private function tend(): void
    {
        if ($this->polling || $this->poll() > 0 || $this->stream === null) {
            return;
        }
        $overdue = microtime(true) - self::OPEN_TIMEOUT;
        foreach ($this->waiting as $link) {
            $exchange = $link->__exchange;
            if ($exchange->accepted === null ? !$exchange->isPending() : $exchange->accepted < $overdue) {
                if ($link->__early) {
                    $link->__server->nativeClosed($link, 1006, '', true);
                }
                $this->end($link);
            }
        }
        if ($this->listener->isClosed() && $this->waiting === [] && $this->streams === 0 && count($this->server) === 0) {
            $this->server->stop(0.0);
            $this->poll();
        }
    }

    private function detach(): void
    {
        if ($this->stream !== null) {
            $this->loop->removeReadStream($this->stream);
            $this->loop->cancelTimer($this->timer);
            $this->stream = null;
        }
    }
}
