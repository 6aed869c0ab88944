<?php

/**
 * The echo server of the drop-in for the Autobahn suite: message objects pass through IoServer,
 * HttpServer and WsServer. For `ECHO_SERVER` of tests/conformance/run.sh: prints its address when it
 * listens, and ends on SIGTERM. Argument: plain, compression, or takeover. With RATCHET_BY_REACT in the
 * environment the stack hides its HttpServer, so that React's server serves and PHP frames.
 */

require __DIR__ . '/support/autoload.php';

use Ratchet\ConnectionInterface;
use Ratchet\RFC6455\Messaging\MessageInterface;

class BinaryEcho implements Ratchet\WebSocket\MessageComponentInterface
{
    public function onOpen(ConnectionInterface $conn)
    {
    }

    public function onMessage(ConnectionInterface $conn, MessageInterface $msg)
    {
        $conn->send($msg);
    }

    public function onClose(ConnectionInterface $conn)
    {
    }

    public function onError(ConnectionInterface $conn, Exception $e)
    {
        fwrite(STDERR, "$e\n");
    }
}

/**
 * Passes everything to a component that its properties do not show.
 */
class Hidden implements Ratchet\MessageComponentInterface
{
    private static Ratchet\MessageComponentInterface $hidden;

    public function __construct(Ratchet\MessageComponentInterface $component)
    {
        self::$hidden = $component;
    }

    public function onOpen(ConnectionInterface $conn)
    {
        self::$hidden->onOpen($conn);
    }

    public function onMessage(ConnectionInterface $from, $msg)
    {
        self::$hidden->onMessage($from, $msg);
    }

    public function onClose(ConnectionInterface $conn)
    {
        self::$hidden->onClose($conn);
    }

    public function onError(ConnectionInterface $conn, Exception $e)
    {
        self::$hidden->onError($conn, $e);
    }
}

if (!getenv('RATCHET_AUTOLOAD')) {
    Ratchet\Native\Settings::set([
        'compression' => match ($argv[1] ?? 'plain') {
            'plain' => false,
            'compression' => new Sprocket\Compression(threshold: 0),
            'takeover' => new Sprocket\Compression(threshold: 0, contextTakeover: true),
        },
    ]);
}
$loop = loop();
$ws = new Ratchet\WebSocket\WsServer(new BinaryEcho());
$ws->enableKeepAlive($loop, 600);
$socket = listen('127.0.0.1:0', $loop);
$app = new Ratchet\Http\HttpServer($ws);
if (getenv('RATCHET_BY_REACT')) {
    $app = new Hidden($app);
}
$server = new Ratchet\Server\IoServer($app, $socket, $loop);
echo 'ws://' . parse_url($socket->getAddress(), PHP_URL_HOST) . ':' . parse_url($socket->getAddress(), PHP_URL_PORT), "\n";
$loop->addSignal(SIGTERM, fn () => $loop->stop());
$server->run();
