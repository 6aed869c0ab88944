<?php

declare(strict_types=1);

namespace Ratchet\Native;

use React\EventLoop\LoopInterface;
use React\Socket\FdServer;
use React\Socket\LimitingServer;
use React\Socket\SecureServer;
use React\Socket\Server as LegacySocketServer;
use React\Socket\ServerInterface;
use React\Socket\SocketServer;
use React\Socket\TcpServer;
use React\Socket\UnixServer;
use Sprocket\Tls;

/**
 * The listening socket inside a React server, taken over from it: React no longer accepts on it,
 * but still owns it, so that `getAddress()` and `close()` of the application's object work.
 *
 * React has no public accessor for the socket inside a server. The private properties below have these names in
 * react/socket 1.0 to 1.15 and on its branch 3.x; tests/ratchet/loop.test.php checks each class with the
 * releases that it is given. If a release lacks one of them, or the class is not one of React's, React continues to
 * serve the socket.
 */
final class Listener
{
    /** Classes that hold a socket, in `$master`, and its loop, in `$loop`. */
    private const SOCKETS = [TcpServer::class, UnixServer::class, FdServer::class];

    /** Classes that hold another server, and the property with it. */
    private const WRAPPERS = [SocketServer::class => 'server', LegacySocketServer::class => 'server', SecureServer::class => 'tcp'];

    private function __construct(
        public readonly ServerInterface $socket,
        /** @var resource|null The listening socket itself. */
        private readonly mixed $resource,
        /** The loop that React's socket was made for. */
        public readonly ?LoopInterface $loop,
        /** The TLS settings of the native server for it; null without TLS. */
        public readonly ?Tls $tls,
        /** Why React must serve it, as a sentence for the log without its full stop; null: the native server can. */
        public readonly ?string $reason,
    ) {
    }

    /**
     * Looks into a React server without changing it.
     */
    public static function of(ServerInterface $socket): self
    {
        $inner = $socket;
        $context = null;
        while (isset(self::WRAPPERS[$inner::class])) {
            if ($inner instanceof SecureServer) {
                $context = (array) self::property($inner, 'context');
            }
            $next = self::property($inner, self::WRAPPERS[$inner::class]);
            if (!$next instanceof ServerInterface) {
                break;
            }
            $inner = $next;
        }
        $resource = in_array($inner::class, self::SOCKETS, true) ? self::property($inner, 'master') : null;
        $loop = $resource === null ? null : self::property($inner, 'loop');
        $tls = $context === null ? null : TlsContext::tls($context);
        $reason = match (true) {
            $inner instanceof LimitingServer => 'A socket is left to React: it is a LimitingServer, which needs React\'s connections. '
                . "Ratchet\Native\Settings::set(['maxConnections' => …]) limits those of a socket without one",
            !is_resource($resource) => 'A socket is left to React: ' . $inner::class . ' is not one of React\'s servers that '
                . 'the native server can take the place of',
            is_string($tls) => "TLS is left to React: $tls",
            default => null,
        };

        return new self(
            $socket,
            $resource,
            $loop instanceof LoopInterface ? $loop : null,
            $tls instanceof Tls ? $tls : null,
            $reason,
        );
    }

    /**
     * The socket and its settings, as an address for the constructor of {@see \Sprocket\Server}.
     *
     * @return resource|null|list<array{resource|null, string}>
     */
    public function endpoint(): mixed
    {
        return $this->tls === null ? $this->resource : [[$this->resource, 'tls']];
    }

    /**
     * Whether the application has closed its socket since.
     */
    public function isClosed(): bool
    {
        return !is_resource($this->resource);
    }

    /**
     * Whether the application listens for React's connections itself, beside the one listener of the IoServer.
     */
    public function isWatched(): bool
    {
        return count($this->socket->listeners('connection')) > 1;
    }

    private static function property(ServerInterface $server, string $name): mixed
    {
        return property_exists($server, $name) ? (new \ReflectionProperty($server, $name))->getValue($server) : null;
    }
}
