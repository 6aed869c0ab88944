<?php

declare(strict_types=1);

namespace Ratchet\Native;

use Ratchet\ComponentInterface;
use Ratchet\Http\HttpServer;
use Ratchet\Http\NoOpHttpServerController;
use Ratchet\Http\OriginCheck;
use Ratchet\Http\Router;
use Ratchet\Server\IpBlackList;
use Ratchet\Session\SessionProvider;
use Ratchet\WebSocket\WsServer;
use Symfony\Component\Routing\Matcher\UrlMatcher;

/**
 * Inspects a stack of components without running it.
 */
final class ComponentTree
{
    /** Components that pass messages on unchanged, and the property that holds the next component. */
    private const NEXT = [
        HttpServer::class => '_httpServer',
        OriginCheck::class => '_component',
        IpBlackList::class => '_decorating',
        SessionProvider::class => '_app',
    ];

    /** Components that refuse a request with a body, or ignore the body. */
    private const BODILESS = [WsServer::class, NoOpHttpServerController::class];

    /** @var array<string, array<class-string, class-string>> Class that declares a method, by method and class. */
    private static array $declaring = [];

    /**
     * The HttpServer of a stack, also behind an application's own decorators; null for raw
     * protocols. Looks at every property of a component, because decorators keep what they
     * decorate under any name.
     */
    public static function httpServer(ComponentInterface $root): ?HttpServer
    {
        foreach (self::components($root) as [$component]) {
            if ($component instanceof HttpServer) {
                return $component;
            }
        }

        return null;
    }

    /**
     * The components of a stack, the outer ones first, those of a router's routes included.
     *
     * @return iterable<array{ComponentInterface|class-string, bool}> Each one, and whether a WsServer is outside of it.
     */
    public static function components(ComponentInterface $root): iterable
    {
        $seen = [];
        $queue = [[$root, false]];
        while ($entry = array_shift($queue)) {
            [$component, $framed] = $entry;
            $key = is_string($component) ? $component : spl_object_id($component);
            if (isset($seen[$key])) {
                continue;
            }
            $seen[$key] = true;
            yield $entry;
            if (is_string($component)) {
                continue;
            }
            $framed = $framed || $component instanceof WsServer;
            $candidates = [];
            foreach (self::properties($component) as $value) {
                array_push($candidates, ...array_filter(is_array($value) ? array_values($value) : [$value], 'is_object'));
            }
            if ($component instanceof Router) {
                array_push($candidates, ...self::controllers(self::read($component, Router::class, '_matcher')));
            }
            foreach ($candidates as $candidate) {
                if ((is_object($candidate) || is_string($candidate)) && is_subclass_of($candidate, ComponentInterface::class)) {
                    $queue[] = [$candidate, $framed];
                }
            }
        }
    }

    /**
     * Whether every component between the root and a WsServer passes the messages of a connection on
     * unchanged, so that the application may get them directly. With 'onOpen', the same for requests.
     */
    public static function isDirect(ComponentInterface $root, WsServer $target, Link $link, string $method = 'onMessage'): bool
    {
        $component = $root;
        while ($component !== $target) {
            $declaring = self::declaringClass($component, $method);
            if ($declaring === Router::class) {
                $component = $link->controller ?? null;
            } elseif (isset(self::NEXT[$declaring])) {
                $component = self::read($component, $declaring, self::NEXT[$declaring]);
            } else {
                return false;
            }
            if (!$component instanceof ComponentInterface) {
                return false;
            }
        }

        return self::declaringClass($target, $method) === WsServer::class;
    }

    /**
     * Whether a component of the application may take the body of a plain request. The components
     * of this package never do; a class that overrides their callbacks may.
     */
    public static function takesBodies(ComponentInterface $root): bool
    {
        $seen = [];
        $queue = [$root];
        while ($component = array_shift($queue)) {
            if (isset($seen[spl_object_id($component)])) {
                continue;
            }
            $seen[spl_object_id($component)] = $component;
            $handler = self::requestHandler($component::class);
            if (in_array($handler, self::BODILESS, true)) {
                continue;
            }
            $next = match (true) {
                $handler === Router::class => self::controllers(self::read($component, Router::class, '_matcher')),
                isset(self::NEXT[$handler]) => [self::read($component, $handler, self::NEXT[$handler])],
                default => [null],
            };
            foreach ($next as $candidate) {
                if ($candidate instanceof ComponentInterface) {
                    $queue[] = $candidate;
                } elseif (!is_string($candidate) || !in_array(self::requestHandler($candidate), self::BODILESS, true)) {
                    return true;
                }
            }
        }

        return false;
    }

    /**
     * The largest head of a request that the application allows, in bytes: `$maxSize` of its parser.
     */
    public static function maxHeaderSize(HttpServer $http): int
    {
        return (int) (self::read($http, HttpServer::class, '_reqParser')->maxSize ?? 0);
    }

    /**
     * The class that declares a method of an object.
     */
    private static function declaringClass(ComponentInterface $component, string $method): string
    {
        return self::$declaring[$method][$component::class]
            ??= (new \ReflectionMethod($component, $method))->getDeclaringClass()->name;
    }

    /**
     * The class that declares both onOpen() and onMessage(), through which a request passes; empty if two
     * classes declare them.
     */
    private static function requestHandler(string $class): string
    {
        if (!is_subclass_of($class, ComponentInterface::class) || !method_exists($class, 'onMessage')) {
            return '';
        }
        $open = (new \ReflectionMethod($class, 'onOpen'))->getDeclaringClass()->name;

        return $open === (new \ReflectionMethod($class, 'onMessage'))->getDeclaringClass()->name ? $open : '';
    }

    /**
     * The controllers of a router's routes: components, or names of classes. Null stands for those that cannot be
     * listed: of a matcher other than Symfony's own, or of a version of it without the protected property
     * `$routes`, which symfony/routing 2.6 to 7.0 have (tried with 4.4, 5.4 and 7.0). tests/ratchet/bodies.test.php
     * fails if the installed release is without it.
     *
     * @return list<mixed>
     */
    private static function controllers(mixed $matcher): array
    {
        if (!$matcher instanceof UrlMatcher || $matcher::class !== UrlMatcher::class || !property_exists($matcher, 'routes')) {
            return [null];
        }
        $routes = self::read($matcher, UrlMatcher::class, 'routes')->all();

        return array_map(static fn ($route) => $route->getDefault('_controller'), array_values($routes));
    }

    /**
     * The value of a property that the class declares. Apart from `UrlMatcher::$routes` these are classes of this
     * package, whose properties have the names that they have in Ratchet. A public accessor could collide
     * with a method of an application's subclass.
     */
    public static function read(object $object, string $class, string $property): mixed
    {
        return (new \ReflectionProperty($class, $property))->getValue($object);
    }

    /**
     * The values of all properties, whatever their names: most of these classes belong to the application, and no
     * version of a library is assumed.
     *
     * @param class-string|null $below Leave out those that this class and its parents declare.
     *
     * @return list<mixed> Values of all properties, private ones of parent classes included.
     */
    public static function properties(object $object, ?string $below = null): array
    {
        $values = [];
        for ($class = new \ReflectionObject($object); $class && $class->name !== $below; $class = $class->getParentClass()) {
            foreach ($class->getProperties() as $property) {
                if (!$property->isStatic() && $property->isInitialized($object)) {
                    $values[] = $property->getValue($object);
                }
            }
        }

        return $values;
    }
}
