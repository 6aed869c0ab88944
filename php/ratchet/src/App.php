<?php

declare(strict_types=1);

namespace Ratchet;

use Ratchet\Http\HttpServer;
use Ratchet\Http\HttpServerInterface;
use Ratchet\Http\OriginCheck;
use Ratchet\Http\Router;
use Ratchet\Native\Log;
use Ratchet\Native\Sockets;
use Ratchet\Server\FlashPolicy;
use Ratchet\Server\IoServer;
use Ratchet\Wamp\WampServer;
use Ratchet\Wamp\WampServerInterface;
use Ratchet\WebSocket\MessageComponentInterface as WsMessageComponentInterface;
use Ratchet\WebSocket\WsServer;
use React\EventLoop\LoopInterface;
use Symfony\Component\Routing\Matcher\UrlMatcher;
use Symfony\Component\Routing\RequestContext;
use Symfony\Component\Routing\Route;
use Symfony\Component\Routing\RouteCollection;

/**
 * A server with several applications at different paths.
 */
class App
{
    /** @var RouteCollection */
    public $routes;

    /** @var IoServer Serves the Flash policy. It listens from the first access on; see README. */
    public $flashServer;

    /** @var IoServer */
    protected $_server;

    /** @var string Host that clients must name. */
    protected $httpHost;

    /** @var int */
    protected $port;

    /** @var int */
    protected $_routeCounter = 0;

    /** @var FlashPolicy|null */
    private $policy;

    /** @var string Address that the Flash policy is served on. */
    private $policyAddress;

    /**
     * @param string             $httpHost Host that clients name in their URL; others get a 404.
     * @param int                $port
     * @param string             $address  Address to listen on; `0.0.0.0` for any, `tls://…` for TLS.
     * @param LoopInterface|null $loop     One of its own if null.
     * @param array              $context  Of the React socket.
     *
     * @throws \InvalidArgumentException If $loop is not a loop.
     * @throws \RuntimeException         If the address can't be listened on.
     */
    public function __construct($httpHost = 'localhost', $port = 8080, $address = '127.0.0.1', $loop = null, $context = [])
    {
        if ($loop !== null && !$loop instanceof LoopInterface) {
            throw new \InvalidArgumentException('Argument #4 ($loop) expected null|' . LoopInterface::class);
        }
        if (extension_loaded('xdebug') && getenv('RATCHET_DISABLE_XDEBUG_WARN') === false) {
            Log::trigger('warning', 'xdebug.loaded', 'Xdebug is loaded and slows the server down: keep it off in production (RATCHET_DISABLE_XDEBUG_WARN=1 silences this)', E_USER_WARNING);
        }
        $loop ??= Sockets::loop();

        $this->httpHost = $httpHost;
        $this->port = $port;
        $this->routes = new RouteCollection();
        $router = new Router(new UrlMatcher($this->routes, new RequestContext()));
        $this->_server = new IoServer(new HttpServer($router), Sockets::listen("$address:$port", $context, $loop), $loop);

        $this->policyAddress = (int) $port === 80 ? '0.0.0.0:843' : '127.0.0.1:8843';
        // Made by __get() at the first access.
        unset($this->flashServer);
    }

    /**
     * @internal Opens the Flash policy's port for an application that asks for it.
     */
    public function &__get($name)
    {
        if ($name === 'flashServer') {
            $this->policy = new FlashPolicy();
            $this->policy->addAllowedAccess($this->httpHost, 80);
            $this->policy->addAllowedAccess($this->httpHost, $this->port);
            $loop = $this->_server->loop;
            $this->flashServer = new IoServer($this->policy, Sockets::listen($this->policyAddress, [], $loop), $loop);

            return $this->flashServer;
        }
        trigger_error('Undefined property: ' . static::class . "::\$$name", E_USER_WARNING);
        $nothing = null;

        return $nothing;
    }

    /**
     * Adds an application at a path.
     *
     * @param string             $path           A path of a Symfony route: `/chat/{room}`.
     * @param ComponentInterface $controller
     * @param string[]           $allowedOrigins Hosts that pages may come from. Empty: the
     *                                           application's own. `['*']`: any.
     * @param string|null        $httpHost       Another host than the application's own.
     *
     * @return ComponentInterface The application with the components around it.
     */
    public function route($path, ComponentInterface $controller, array $allowedOrigins = [], $httpHost = null)
    {
        $httpHost ??= $this->httpHost;
        $decorated = $this->decorate($controller);

        $allowed = array_values($allowedOrigins) ?: [$httpHost];
        if ($allowed[0] !== '*') {
            $decorated = new OriginCheck($decorated, $allowed);
            if ($this->policy !== null) {
                foreach ($allowed as $host) {
                    $this->policy->addAllowedAccess($host, 80);
                    $this->policy->addAllowedAccess($host, $this->port);
                }
            }
        }
        $this->routes->add(
            'rr-' . ++$this->_routeCounter,
            new Route($path, ['_controller' => $decorated], ['Origin' => $this->httpHost], [], $httpHost, [], ['GET'])
        );

        return $decorated;
    }

    /**
     * Serves until the loop is stopped.
     */
    public function run()
    {
        $this->_server->run();
    }

    /**
     * Wraps an application for a router, by its kind.
     */
    private function decorate(ComponentInterface $controller): ComponentInterface
    {
        if ($controller instanceof HttpServerInterface) {
            return $controller;
        }
        if ($controller instanceof WampServerInterface) {
            $controller = new WampServer($controller);
        }
        if (!$controller instanceof MessageComponentInterface && !$controller instanceof WsMessageComponentInterface) {
            return $controller;
        }
        $server = new WsServer($controller);
        $server->enableKeepAlive($this->_server->loop);

        return $server;
    }
}
