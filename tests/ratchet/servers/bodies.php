<?php

/**
 * Stacks that get requests with a body. The first argument names the stack, the second one is the
 * option `maxBodySize`.
 */

require __DIR__ . '/../support/autoload.php';

use GuzzleHttp\Psr7\Message;
use GuzzleHttp\Psr7\Response;
use Psr\Http\Message\RequestInterface;
use Ratchet\ConnectionInterface;
use Ratchet\Http\HttpServer;
use Ratchet\Http\HttpServerInterface;
use Ratchet\Http\OriginCheck;
use Ratchet\Http\Router;
use Ratchet\Server\EchoServer;
use Ratchet\Server\IpBlackList;
use Ratchet\WebSocket\WsServer;
use Symfony\Component\Routing\Matcher\UrlMatcher;
use Symfony\Component\Routing\RequestContext;
use Symfony\Component\Routing\Route;
use Symfony\Component\Routing\RouteCollection;

/** An HTTP API that collects the body until it has the announced length. */
class Api implements HttpServerInterface
{
    private array $bodies = [];
    private array $lengths = [];

    public function onOpen(ConnectionInterface $conn, ?RequestInterface $request = null)
    {
        $this->bodies[$conn->resourceId] = (string) $request->getBody();
        $this->lengths[$conn->resourceId] = (int) $request->getHeaderLine('Content-Length');
        $this->answer($conn);
    }

    public function onMessage(ConnectionInterface $from, $msg)
    {
        $this->bodies[$from->resourceId] .= $msg;
        $this->answer($from);
    }

    public function onClose(ConnectionInterface $conn)
    {
        unset($this->bodies[$conn->resourceId], $this->lengths[$conn->resourceId]);
    }

    public function onError(ConnectionInterface $conn, Exception $e)
    {
        $conn->send(Message::toString(new Response(500, [], $e->getMessage())));
        $conn->close();
    }

    private function answer(ConnectionInterface $conn): void
    {
        $body = $this->bodies[$conn->resourceId];
        if (strlen($body) >= $this->lengths[$conn->resourceId]) {
            $event = json_decode($body, false, 512, JSON_THROW_ON_ERROR);
            $conn->send(Message::toString(new Response(200, ['Content-Type' => 'application/json'], json_encode(strlen($event->data)))));
            $conn->close();
        }
    }
}

/** Handles a request before the WsServer does. */
class Greeter extends WsServer
{
    public function onOpen(ConnectionInterface $conn, ?RequestInterface $request = null)
    {
        tell('body', (string) $request->getBody());

        return parent::onOpen($conn, $request);
    }
}

/** A WsServer that a router makes for each connection. */
class EchoRoute extends WsServer
{
    public function __construct()
    {
        parent::__construct(new EchoServer());
    }
}

function router(mixed ...$controllers): Router
{
    $routes = new RouteCollection();
    foreach ($controllers as $path => $controller) {
        $routes->add($path, new Route("/$path", ['_controller' => $controller]));
    }

    return new Router(new UrlMatcher($routes, new RequestContext()));
}

[, $kind, $limit] = $argv + [2 => null];
if ($limit !== null) {
    Ratchet\Native\Settings::set(['maxBodySize' => (int) $limit]);
}
$ws = new WsServer(new EchoServer());
$app = match ($kind) {
    'chat' => new HttpServer($ws),
    'wrapped' => new IpBlackList(new HttpServer(new OriginCheck($ws, ['localhost']))),
    'routes' => new HttpServer(router(chat: $ws, named: EchoRoute::class)),
    'api' => new HttpServer(router(chat: new OriginCheck($ws, ['localhost']), api: new Api())),
    'named-api' => new HttpServer(router(chat: $ws, api: Api::class)),
    'greeter' => new HttpServer(new Greeter(new EchoServer())),
};
$loop = loop();
$socket = listen('127.0.0.1:0', $loop);
$server = new Ratchet\Server\IoServer($app, $socket, $loop);
ready($socket);
$server->run();
