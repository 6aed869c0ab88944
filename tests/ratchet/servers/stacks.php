<?php

/**
 * Stacks of components as applications build them, each at a port of its own. The argument names
 * the stack.
 */

require __DIR__ . '/../support/autoload.php';

use GuzzleHttp\Psr7\Message;
use GuzzleHttp\Psr7\Response;
use Psr\Http\Message\RequestInterface;
use Ratchet\ConnectionInterface;
use Ratchet\Http\HttpServer;
use Ratchet\Http\HttpServerInterface;
use Ratchet\MessageComponentInterface;
use Ratchet\WebSocket\WsServer;

class Echoing implements MessageComponentInterface
{
    public function onOpen(ConnectionInterface $conn)
    {
        tell('open', $conn->httpRequest->getUri()->getQuery(), isset($conn->user) ? $conn->user : null);
    }

    public function onMessage(ConnectionInterface $from, $msg)
    {
        if ($msg === 'where') {
            return $from->send("$from->remoteAddress $from->remotePort $from->localAddress $from->localPort");
        }
        if ($msg === 'throw') {
            throw new Exception('from the application');
        }
        $from->send("echo $msg");
    }

    public function onClose(ConnectionInterface $conn)
    {
        tell('close', isset($conn->user) ? $conn->user : null);
    }

    public function onError(ConnectionInterface $conn, Exception $e)
    {
        tell('error', $e->getMessage());
        $conn->close();
    }
}

/** A decorator of the kind that applications write: untyped, with the next one in a private property. */
class Decorator implements HttpServerInterface
{
    private $inner;

    public function __construct($inner, private string $name = 'decorator')
    {
        $this->inner = $inner;
    }

    public function onOpen(ConnectionInterface $conn, ?RequestInterface $request = null)
    {
        tell('decorator-open', $this->name, $request === null);

        return $request === null ? $this->inner->onOpen($conn) : $this->inner->onOpen($conn, $request);
    }

    public function onMessage(ConnectionInterface $from, $msg)
    {
        tell('decorator-message', $this->name, strtok($msg, "\r"));

        return $this->inner->onMessage($from, $msg);
    }

    public function onClose(ConnectionInterface $conn)
    {
        tell('decorator-close', $this->name);

        return $this->inner->onClose($conn);
    }

    public function onError(ConnectionInterface $conn, Exception $e)
    {
        tell('decorator-error', $this->name, $e->getMessage());

        return $this->inner->onError($conn, $e);
    }
}

/** Admits clients with the cookie, and refuses the others with a status. */
class CookieGate extends Decorator
{
    public function __construct(private $app)
    {
        parent::__construct($app, 'gate');
    }

    public function onOpen(ConnectionInterface $conn, ?RequestInterface $request = null)
    {
        if (!preg_match('/\buser=(\w+)/', $request->getHeaderLine('Cookie'), $match)) {
            $conn->send(Message::toString(new Response(401, ['WWW-Authenticate' => 'Cookie', 'X-Why' => 'no user'], 'Who are you?')));

            return $conn->close();
        }
        $conn->user = $match[1];

        return $this->app->onOpen($conn, $request);
    }
}

/** Decides later, as after a query to a database. */
class SlowGate extends Decorator
{
    public function __construct(private $app, private $loop)
    {
        parent::__construct($app, 'slow');
    }

    public function onOpen(ConnectionInterface $conn, ?RequestInterface $request = null)
    {
        $this->loop->addTimer(0.2, function () use ($conn, $request) {
            if ($request->getUri()->getPath() === '/no') {
                $conn->send(Message::toString(new Response(402, [], 'pay')));
                $conn->close();
            } else {
                $this->app->onOpen($conn, $request);
            }
        });
    }
}

/** Puts a connection of its own between WsServer and the socket. */
class Meter extends Decorator
{
    private $meters;

    public function __construct(private $app)
    {
        parent::__construct($app, 'meter');
        $this->meters = new SplObjectStorage();
    }

    public function onOpen(ConnectionInterface $conn, ?RequestInterface $request = null)
    {
        return $this->app->onOpen($this->wrap($conn, new MeteredConnection($conn)), $request);
    }

    protected function wrap(ConnectionInterface $conn, ConnectionInterface $wrapper): ConnectionInterface
    {
        return $this->meters[$conn] = $wrapper;
    }

    public function onMessage(ConnectionInterface $from, $msg)
    {
        return $this->app->onMessage($this->meters[$from], $msg);
    }

    public function onClose(ConnectionInterface $conn)
    {
        return $this->app->onClose($this->meters[$conn]);
    }
}

class MeteredConnection extends Ratchet\AbstractConnectionDecorator
{
    public function send($data)
    {
        tell('metered', strlen($data));
        $this->getConnection()->send($data);

        return $this;
    }

    public function close()
    {
        $this->getConnection()->close();
    }
}

/** Passes on, from a timer, a wrapper that is not one of Ratchet's decorators. */
class Foreign extends Meter
{
    public function __construct(private $next, private $loop)
    {
        parent::__construct($next);
    }

    public function onOpen(ConnectionInterface $conn, ?RequestInterface $request = null)
    {
        $wrapper = $this->wrap($conn, new ForeignConnection($conn));
        $this->loop->addTimer(0.05, fn () => $this->next->onOpen($wrapper, $request));
    }
}

class ForeignConnection implements ConnectionInterface
{
    public function __construct(private ConnectionInterface $under)
    {
    }

    public function send($data)
    {
        tell('metered', strlen($data));
        $this->under->send($data);

        return $this;
    }

    public function close()
    {
        $this->under->close();
    }

    public function __get($name)
    {
        return $this->under->$name;
    }

    public function __set($name, $value)
    {
        $this->under->$name = $value;
    }

    public function __isset($name)
    {
        return isset($this->under->$name);
    }
}

/** Gives its reason in the status line alone. */
class Locked extends Decorator
{
    public function onOpen(ConnectionInterface $conn, ?RequestInterface $request = null)
    {
        $gone = $request->getUri()->getPath() === '/gone';
        $conn->send($gone ? "HTTP/1.1 410 Gone\r\n\r\n" : "HTTP/1.1 403 Your account is locked\r\n\r\n");
        $conn->close();
    }
}

/** Refuses the client and still passes it on. */
class Careless extends Decorator
{
    use Ratchet\Http\CloseResponseTrait;

    public function __construct(private $app)
    {
        parent::__construct($app, 'careless');
    }

    public function onOpen(ConnectionInterface $conn, ?RequestInterface $request = null)
    {
        $this->close($conn, 403);

        return $this->app->onOpen($conn, $request);
    }
}

/** Answers plain requests. */
class Page implements HttpServerInterface
{
    public function __construct(private $loop)
    {
    }

    public function onOpen(ConnectionInterface $conn, ?RequestInterface $request = null)
    {
        $path = $request->getUri()->getPath();
        $respond = static function () use ($conn, $request) {
            $body = $request->getMethod() . ' ' . $request->getBody();
            $conn->send(Message::toString(new Response(201, ['Content-Type' => 'text/x-test', 'X-Path' => $request->getUri()->getPath()], $body)));
            $conn->close();
        };
        if ($path === '/boom') {
            throw new Exception('page failed');
        }
        if ($path === '/chunked') {
            $conn->send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n");
            $conn->close();
        } elseif ($path === '/later') {
            $this->loop->addTimer(0.2, $respond);
        } else {
            $respond();
        }
    }

    public function onMessage(ConnectionInterface $from, $msg)
    {
    }

    public function onClose(ConnectionInterface $conn)
    {
        tell('page-close');
    }

    public function onError(ConnectionInterface $conn, Exception $e)
    {
        tell('error', $e->getMessage());
        $conn->close();
    }
}

class Instantiated extends WsServer
{
    public function __construct()
    {
        parent::__construct(new Echoing());
        tell('instantiated');
    }
}

class Watching extends WsServer
{
    public function onControlFrame(Ratchet\RFC6455\Messaging\FrameInterface $frame, Ratchet\WebSocket\WsConnection $conn)
    {
        tell('control', $frame->getOpcode(), $frame->getPayload(), count($this->connections));
        parent::onControlFrame($frame, $conn);
    }

    public function onOpen(ConnectionInterface $conn, ?RequestInterface $request = null)
    {
        parent::onOpen($conn, $request);
    }
}

class Pinging extends Echoing
{
    public function onOpen(ConnectionInterface $conn)
    {
        $conn->send(new Ratchet\RFC6455\Messaging\Frame('p1', true, Ratchet\RFC6455\Messaging\Frame::OP_PING));
    }
}

/** Creates its HttpServer with the first connection. */
class Hidden implements MessageComponentInterface
{
    private static array $parts = [];

    private function server(): HttpServer
    {
        return self::$parts[0] ??= new HttpServer(new WsServer(new Echoing()));
    }

    public function onOpen(ConnectionInterface $conn)
    {
        $this->server()->onOpen($conn);
    }

    public function onMessage(ConnectionInterface $from, $msg)
    {
        $this->server()->onMessage($from, $msg);
    }

    public function onClose(ConnectionInterface $conn)
    {
        $this->server()->onClose($conn);
    }

    public function onError(ConnectionInterface $conn, Exception $e)
    {
        $this->server()->onError($conn, $e);
    }
}

$loop = loop();
$ws = new WsServer(new Echoing());
$kind = $argv[1];

if ($kind === 'routes') {
    $routes = new Symfony\Component\Routing\RouteCollection();
    $routes->add('rooms', new Symfony\Component\Routing\Route('/room/{name}', ['_controller' => $ws]));
    $routes->add('class', new Symfony\Component\Routing\Route('/class', ['_controller' => Instantiated::class]));
    $routes->add('page', new Symfony\Component\Routing\Route('/{path}', ['_controller' => new Page($loop)], ['path' => '.*']));
    $matcher = new Symfony\Component\Routing\Matcher\UrlMatcher($routes, new Symfony\Component\Routing\RequestContext());
}
$app = match ($kind) {
    'gate' => new HttpServer(new CookieGate($ws)),
    'slow' => new HttpServer(new SlowGate($ws, $loop)),
    'layers' => new Decorator(new HttpServer(new Decorator($ws, 'inner')), 'outer'),
    'black' => (new Ratchet\Server\IpBlackList(new HttpServer($ws)))->blockAddress('127.0.0.1'),
    'white' => (new Ratchet\Server\IpBlackList(new HttpServer($ws)))->blockAddress('192.0.2.1'),
    'meter' => new HttpServer(new Meter($ws)),
    'foreign' => new HttpServer(new Foreign($ws, $loop)),
    'careless' => new HttpServer(new Careless($ws)),
    'phrase' => new HttpServer(new Locked($ws)),
    'page' => new HttpServer(new Page($loop)),
    'routes' => new HttpServer(new Ratchet\Http\Router($matcher)),
    'watch' => new HttpServer(new Watching(new Pinging())),
    'hidden' => new Hidden(),
};
$socket = listen('127.0.0.1:0', $loop);
$server = new Ratchet\Server\IoServer($app, $socket, $loop);
ready($socket);
$server->run();
