<?php

declare(strict_types=1);

namespace Ratchet\Native;

use Ratchet\ComponentInterface;
use Ratchet\Http\HttpRequestParser;
use Ratchet\Http\HttpServer;
use Ratchet\RFC6455\Handshake\NegotiatorInterface;
use Ratchet\RFC6455\Messaging\MessageBuffer;
use Ratchet\Server\IoServer;
use Ratchet\WebSocket\WsServer;

/**
 * Finds the first class of a stack that handles raw connections, handshakes or frames in code that the
 * native server does not run. React serves such a stack, with that code.
 *
 * The classes are not run for this. The methods that they override, the values of their properties and
 * the names in their source decide.
 */
final class Departure
{
    /** Methods of IoServer that only React's connections reach. */
    private const RAW = ['handleConnect', 'handleData', 'handleEnd', 'handleError'];

    /** Identifiers in the source of classes that process frames or handshakes themselves. */
    private const PROTOCOL = ['MessageBuffer', 'ConnContext', 'ServerNegotiator', 'NegotiatorInterface'];

    /** String literals in such classes: the header and the key of RFC 6455 section 4.2.2. */
    private const HANDSHAKE = '~Sec-WebSocket-Accept|258EAFA5-E914-47DA-95CA-C5AB0DC85B11|HTTP/1\.1 101\b~i';

    /**
     * @param class-string<IoServer> $server
     *
     * @return string|null The class and its reason; null if the native server can do all of it.
     */
    public static function find(string $server, ComponentInterface $app): ?string
    {
        foreach (self::RAW as $method) {
            $class = self::declaring($server, $method);
            if ($class !== IoServer::class) {
                return "$class overrides IoServer::$method(), which only React's connections reach";
            }
        }
        foreach (ComponentTree::components($app) as [$component, $framed]) {
            $reason = self::ofValues($component, $framed) ?? self::ofClass(is_string($component) ? $component : $component::class, $framed);
            if ($reason !== null) {
                return $reason;
            }
        }

        return null;
    }

    /**
     * @param ComponentInterface|class-string $component
     * @param bool                            $framed    Whether a WsServer is outside of it.
     */
    private static function ofValues(ComponentInterface|string $component, bool $framed): ?string
    {
        if (is_string($component) || $framed) {
            return null;
        }
        if ($component instanceof HttpServer) {
            $parser = ComponentTree::read($component, HttpServer::class, '_reqParser');
            if ($parser !== null && $parser::class !== HttpRequestParser::class) {
                return $parser::class . ' replaces HttpRequestParser';
            }
        }
        if ($component::class === WsServer::class) {
            return null;
        }
        foreach (ComponentTree::properties($component, WsServer::class) as $value) {
            if ($value instanceof NegotiatorInterface || $value instanceof MessageBuffer) {
                return $component::class . ' holds a ' . $value::class . ' and speaks the protocol itself';
            }
        }

        return null;
    }

    /**
     * @param class-string $class
     */
    private static function ofClass(string $class, bool $framed): ?string
    {
        $source = ComponentSource::of($class);
        $reflects = $source->names('Reflection(Property|Class|Object)', 'Closure') && $source->contains('~^conn$~');
        $binds = $source->names('bind', 'bindTo', 'call') && $source->names('conn') && $source->names('IoConnection');
        if ($reflects || $binds) {
            return "$class uses IoConnection::\$conn, which is React's connection";
        }
        if ($framed) {
            return null;
        }
        $buffers = self::buffers($class, $source);
        foreach (self::PROTOCOL as $name) {
            if ($source->names($name) && !($name === 'MessageBuffer' && $buffers) && !self::adjusts($class, $source)) {
                return "$class uses $name and speaks the protocol itself";
            }
        }
        if ($source->contains(self::HANDSHAKE)) {
            return "$class answers handshakes itself";
        }
        if (!is_a($class, WsServer::class, true)) {
            return null;
        }
        if (self::declaring($class, 'onOpen') !== WsServer::class && !$source->calls('parent', 'onOpen')) {
            return "$class overrides WsServer::onOpen() without calling parent::onOpen()";
        }

        return self::declaring($class, 'onMessage') !== WsServer::class && ComponentSource::ofMethod($class, 'onMessage')->names('buffer')
            ? "$class parses frames in onMessage()"
            : null;
    }

    /**
     * Whether a WsServer puts a MessageBuffer into the context of a connection that the class of this
     * package has opened, where messages of the native server pass through it.
     */
    private static function buffers(string $class, ComponentSource $source): bool
    {
        return is_a($class, WsServer::class, true)
            && $source->calls('parent', 'onOpen')
            && self::declaring($class, 'onMessage') === WsServer::class;
    }

    /**
     * Whether a class only configures the negotiator of a WsServer, which decides on the native server, too.
     */
    private static function adjusts(string $class, ComponentSource $source): bool
    {
        return $source->contains('~^handshakeNegotiator$~') && !$source->names('MessageBuffer', 'ConnContext');
    }

    private static function declaring(string $class, string $method): string
    {
        return (new \ReflectionMethod($class, $method))->getDeclaringClass()->name;
    }
}
