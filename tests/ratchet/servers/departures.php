<?php

/**
 * Stacks with a class that handles connections, handshakes or frames itself. The argument names the
 * stack.
 */

require __DIR__ . '/../support/autoload.php';

use GuzzleHttp\Psr7\Message;
use Psr\Http\Message\RequestInterface;
use Ratchet\ConnectionInterface;
use Ratchet\Http\HttpServer;
use Ratchet\Http\HttpServerInterface;
use Ratchet\RFC6455\Handshake\RequestVerifier;
use Ratchet\RFC6455\Handshake\ServerNegotiator;
use Ratchet\RFC6455\Messaging\CloseFrameChecker;
use Ratchet\RFC6455\Messaging\Frame;
use Ratchet\RFC6455\Messaging\MessageBuffer;
use Ratchet\Server\IoConnection;
use Ratchet\Server\IoServer;
use Ratchet\WebSocket\ConnContext;
use Ratchet\WebSocket\WsConnection;
use Ratchet\WebSocket\WsServer;

class Echoing implements Ratchet\MessageComponentInterface
{
    public function onOpen(ConnectionInterface $conn)
    {
        tell('open');
    }

    public function onMessage(ConnectionInterface $from, $msg)
    {
        $from->send("echo $msg");
    }

    public function onClose(ConnectionInterface $conn)
    {
        tell('close');
    }

    public function onError(ConnectionInterface $conn, Exception $e)
    {
        tell('error', $e->getMessage());
        $conn->close();
    }
}

/** Installs a buffer with a limit of its own. */
class Bounded extends WsServer
{
    protected $app;

    public function __construct($app)
    {
        parent::__construct($app);
        $this->app = $app;
    }

    public function onOpen(ConnectionInterface $conn, ?RequestInterface $request = null)
    {
        parent::onOpen($conn, $request);
        if (!$this->connections->contains($conn)) {
            return;
        }
        $ws = $this->connections[$conn]->connection;
        $this->connections[$conn]->buffer = new MessageBuffer(
            new CloseFrameChecker(),
            fn ($message) => $this->app->onMessage($ws, $message->getPayload()),
            fn ($frame) => $this->onControlFrame($frame, $ws),
            true,
            null,
            8192,
            8192
        );
    }
}

/** The same with a buffer that a helper makes, of a class of its own. */
class Helped extends WsServer
{
    public function __construct(private $app)
    {
        parent::__construct($app);
    }

    public function onOpen(ConnectionInterface $conn, ?RequestInterface $request = null)
    {
        parent::onOpen($conn, $request);
        $context = $this->connections[$conn];
        $context->buffer = Helper::buffer(
            fn ($message) => $this->app->onMessage($context->connection, $message->getPayload()),
            fn ($frame) => $this->onControlFrame($frame, $context->connection)
        );
    }
}

class Helper
{
    public static function buffer(callable $onMessage, callable $onControl): MessageBuffer
    {
        return new class (new CloseFrameChecker(), $onMessage, $onControl, true, null, 8192) extends MessageBuffer {
            public function onData($data)
            {
                tell('frame', strlen($data));
                parent::onData($data);
            }
        };
    }
}

/** Feeds the buffer with the bytes of frames. */
class Feeding extends Bounded
{
    public function onMessage(ConnectionInterface $from, $msg)
    {
        tell('bytes', strlen($msg));
        $this->connections[$from]->buffer->onData($msg);
    }
}

/** Remembers its open connections, for classes around it that expect each one to be there. */
class Counter extends Echoing
{
    public array $open = [];

    public function onOpen(ConnectionInterface $conn)
    {
        $this->open[$conn->resourceId] = $conn;
        $conn->send('opened');
        parent::onOpen($conn);
    }

    public function onClose(ConnectionInterface $conn)
    {
        unset($this->open[$conn->resourceId]);
        parent::onClose($conn);
    }
}

class Expecting extends WsServer
{
    public function __construct(private Counter $app, private bool $refuse = false)
    {
        parent::__construct($app);
    }

    public function onOpen(ConnectionInterface $conn, ?RequestInterface $request = null)
    {
        parent::onOpen($conn, $request);
        $this->app->open[$conn->resourceId]->send('expected');
        if ($this->refuse) {
            $this->app->open[$conn->resourceId]->close(4001);
        }
    }
}

class Around implements HttpServerInterface
{
    public function __construct(private WsServer $ws, private Counter $app)
    {
    }

    public function onOpen(ConnectionInterface $conn, ?RequestInterface $request = null)
    {
        $this->ws->onOpen($conn, $request);
        $this->app->open[$conn->resourceId]->send('expected');
    }

    public function onMessage(ConnectionInterface $from, $msg)
    {
        $this->ws->onMessage($from, $msg);
    }

    public function onClose(ConnectionInterface $conn)
    {
        $this->ws->onClose($conn);
    }

    public function onError(ConnectionInterface $conn, Exception $e)
    {
        $this->ws->onError($conn, $e);
    }
}

/** Keeps PHP busy while a client leaves. */
class Slow extends Counter
{
    public function onOpen(ConnectionInterface $conn)
    {
        parent::onOpen($conn);
        usleep(300000);
    }

    public function onClose(ConnectionInterface $conn)
    {
        tell('code', $conn->WebSocket->closeCode ?? null);
        parent::onClose($conn);
    }
}

/** Names another subprotocol with each handshake. */
class Rotating extends Echoing implements Ratchet\WebSocket\WsServerInterface
{
    private int $version = 0;

    public function getSubProtocols()
    {
        return ['v' . ++$this->version];
    }
}

/** Does all of the handshake itself. */
class Complete extends WsServer
{
    public function __construct(private $app)
    {
        parent::__construct($app);
    }

    public function onOpen(ConnectionInterface $conn, ?RequestInterface $request = null)
    {
        $conn->httpRequest = $request;
        $conn->WebSocket = (object) ['closing' => false];
        $response = (new ServerNegotiator(new RequestVerifier()))->handshake($request);
        $conn->send(Message::toString($response));
        $ws = new WsConnection($conn);
        $this->connections->attach($conn, new ConnContext($ws, new MessageBuffer(
            new CloseFrameChecker(),
            fn ($message) => $this->app->onMessage($ws, $message->getPayload()),
            fn ($frame) => $this->onControlFrame($frame, $ws)
        )));
        $this->app->onOpen($ws);
    }
}

/** A socket that an application has put around React's own. */
class Throttled extends Evenement\EventEmitter implements React\Socket\ServerInterface
{
    public function __construct(private $server)
    {
        $server->on('connection', function ($conn) {
            tell('connected');
            $this->emit('connection', [$conn]);
        });
    }

    public function getAddress()
    {
        return $this->server->getAddress();
    }

    public function pause()
    {
        $this->server->pause();
    }

    public function resume()
    {
        $this->server->resume();
    }

    public function close()
    {
        $this->server->close();
    }
}

abstract class Raw implements HttpServerInterface
{
    public function onMessage(ConnectionInterface $from, $msg)
    {
        $frame = new Frame();
        $frame->addBuffer($msg);
        $from->send((new Frame('echo ' . $frame->unMaskPayload()->getPayload()))->getContents());
    }

    public function onClose(ConnectionInterface $conn)
    {
    }

    public function onError(ConnectionInterface $conn, Exception $e)
    {
        tell('error', $e->getMessage());
        $conn->close();
    }
}

/** Greets as soon as the class above has opened the connection. */
class Greeting extends WsServer
{
    public function onOpen(ConnectionInterface $conn, ?RequestInterface $request = null)
    {
        parent::onOpen($conn, $request);
        $this->connections[$conn]->connection->send('welcome');
    }
}

/** An HTTP component that writes a 101 and frames. */
class Switching extends Raw
{
    public function onOpen(ConnectionInterface $conn, ?RequestInterface $request = null)
    {
        $accept = base64_encode(sha1($request->getHeader('Sec-WebSocket-Key')[0] . '258EAFA5-E914-47DA-95CA-C5AB0DC85B11', true));
        $conn->send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: $accept\r\n\r\n");
        $conn->send((new Frame('welcome'))->getContents());
    }
}

/** The same, with a status line that its source does not show. */
class Opaque extends Raw
{
    public function onOpen(ConnectionInterface $conn, ?RequestInterface $request = null)
    {
        $conn->send(sprintf("HTTP/%s %d\r\n\r\n", '1.1', 101));
    }
}

class Own extends IoConnection
{
    public int $resourceId;
    public string $remoteAddress;
}

/** Creates connections of a class of its own, and has methods of its own. */
class Counting extends IoServer
{
    private static $accepted = 0;

    public function handleConnect(React\Socket\ConnectionInterface $conn)
    {
        $own = new Own($conn);
        $own->resourceId = ++self::$accepted;
        $own->remoteAddress = '192.0.2.7';
        tell('accepted', $this->listen(), $this->loop());
        set_error_handler(fn () => true, E_DEPRECATED);
        $conn->decor = $own;
        restore_error_handler();
        $this->app->onOpen($own);
        $conn->on('data', fn ($data) => $this->handleData($data, $conn));
        $conn->on('close', fn () => $this->handleEnd($conn));
    }

    public function listen()
    {
        return 'listen';
    }

    protected function loop()
    {
        return 'loop';
    }
}

/** Reads the React connection by Reflection. */
class Reaching extends Echoing
{
    public function onMessage(ConnectionInterface $from, $msg)
    {
        $inner = (new ReflectionMethod($from, 'getConnection'))->invoke($from);
        $conn = (new ReflectionProperty(IoConnection::class, 'conn'))->getValue($inner);
        $from->send(parse_url($conn->getRemoteAddress(), PHP_URL_HOST));
    }
}

/** The same by a closure in the scope of the class. */
class Binding extends Echoing
{
    public function onMessage(ConnectionInterface $from, $msg)
    {
        $inner = (new ReflectionMethod($from, 'getConnection'))->invoke($from);
        $conn = Closure::bind(fn () => $this->conn, $inner, IoConnection::class)();
        $from->send(parse_url($conn->getRemoteAddress(), PHP_URL_HOST));
    }
}

/** The same, with a name that its source does not show. */
class Groping extends Echoing
{
    public function onMessage(ConnectionInterface $from, $msg)
    {
        $inner = (new ReflectionMethod($from, 'getConnection'))->invoke($from);
        $conn = (new ReflectionProperty(IoConnection::class, strrev('nnoc')))->getValue($inner);
        $conn->pause();
    }
}

/** Accepts each subprotocol with a certain prefix. */
class Token implements HttpServerInterface
{
    public function __construct(private WsServer $ws)
    {
    }

    public function onOpen(ConnectionInterface $conn, ?RequestInterface $request = null)
    {
        $property = new ReflectionProperty(WsServer::class, 'handshakeNegotiator');
        $offered = preg_grep('~^token\.~', array_map('trim', explode(',', $request->getHeaderLine('Sec-WebSocket-Protocol'))));
        $property->getValue($this->ws)->setSupportedSubProtocols($offered);
        $this->ws->onOpen($conn, $request);
    }

    public function onMessage(ConnectionInterface $from, $msg)
    {
        $this->ws->onMessage($from, $msg);
    }

    public function onClose(ConnectionInterface $conn)
    {
        $this->ws->onClose($conn);
    }

    public function onError(ConnectionInterface $conn, Exception $e)
    {
        $this->ws->onError($conn, $e);
    }
}

/** Another negotiator, with a header of its own. */
class Polite extends ServerNegotiator
{
    public function handshake(RequestInterface $request)
    {
        return parent::handshake($request)->withHeader('X-Greeting', 'hello')->withHeader('Sec-WebSocket-Protocol', 'token.2');
    }
}

$loop = loop();
$kind = $argv[1];
$counter = new Counter();
$ws = new WsServer(match ($kind) {
    'around' => $counter,
    'rotating' => new Rotating(),
    'reaching' => new Reaching(),
    'binding' => new Binding(),
    'groping' => new Groping(),
    default => new Echoing(),
});
if ($kind === 'negotiator') {
    (new ReflectionProperty(WsServer::class, 'handshakeNegotiator'))->setValue($ws, new Polite(new RequestVerifier()));
}
$bounded = new Bounded(new Echoing());
$complete = new Complete(new Echoing());
if ($kind === 'complete') {
    $complete->enableKeepAlive($loop, 1);
}
$app = new HttpServer(match ($kind) {
    'bounded' => $bounded,
    'helped' => new Helped(new Echoing()),
    'feeding' => new Feeding(new Echoing()),
    'expecting' => new Expecting($counter),
    'slow' => new Expecting(new Slow()),
    'refusing' => new Expecting($counter, true),
    'around' => new Around($ws, $counter),
    'complete' => $complete,
    'greeting' => new Greeting(new Echoing()),
    'switching' => new Switching(),
    'opaque' => new Opaque(),
    'token' => new Token($ws),
    default => $ws,
});
if ($kind === 'route') {
    $routes = new Symfony\Component\Routing\RouteCollection();
    $routes->add('limited', new Symfony\Component\Routing\Route('/limited', ['_controller' => $bounded]));
    $app = new HttpServer(new Ratchet\Http\Router(
        new Symfony\Component\Routing\Matcher\UrlMatcher($routes, new Symfony\Component\Routing\RequestContext())
    ));
}
$socket = listen('127.0.0.1:0', $loop);
$class = $kind === 'counting' ? Counting::class : IoServer::class;
if ($kind === 'throttled') {
    $socket = new Throttled($socket);
}
$server = new $class($app, $socket, $loop);
ready($socket);
if ($kind === 'watched') {
    $socket->on('connection', fn ($conn) => tell('connected'));
}
if ($kind === 'plain') {
    // A second server of the process, which leaves no second line in the log.
    new IoServer(new HttpServer(new WsServer(new Echoing())), listen('127.0.0.1:0', $loop), $loop);
}
$server->run();
