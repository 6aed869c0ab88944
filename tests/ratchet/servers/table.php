<?php

/**
 * An application that executes the commands in its messages. Arguments: `plain`, `protocols`, `objects`, `compressed`,
 * `failing-open`, `failing-close`, `failing-error`, `keepalive`, `app`.
 */

require __DIR__ . '/../support/autoload.php';

use Ratchet\ConnectionInterface;
use Ratchet\RFC6455\Messaging\Frame;

class Table implements Ratchet\MessageComponentInterface
{
    public function __construct(public string $kind)
    {
    }

    public function onOpen(ConnectionInterface $conn)
    {
        tell('open', $conn->resourceId, $conn->remoteAddress);
        if ($this->kind === 'failing-open') {
            throw new Exception('no opening today');
        }
        if ($this->kind === 'greeting') {
            $conn->send('welcome')->send('again');
        }
    }

    public function onMessage(ConnectionInterface $conn, $msg)
    {
        tell('message', $msg);
        [$command, $argument] = explode(':', $msg, 2) + [1 => ''];
        match ($command) {
            'echo' => $conn->send($argument),
            'throw' => throw new LogicException('thrown'),
            'error' => $conn->send([]),
            'scalar' => $conn->send(eval("return $argument;")),
            'close' => $this->close($conn, (int) $argument),
            'type' => $conn->send(get_debug_type($msg)),
            'frame' => $conn->send(new Frame('bytes', true, (int) $argument)),
            'fragments' => $conn->send(new Frame('ab', false))->send(new Frame('cd', true, Frame::OP_CONTINUE)),
            'property' => $this->property($conn),
            default => $conn->send($msg),
        };
    }

    public function onClose(ConnectionInterface $conn)
    {
        $state = $conn->WebSocket;
        tell('close', $state->closeCode ?? null, $state->closeReason ?? null);
        if ($this->kind === 'failing-close') {
            throw new Exception('no closing today');
        }
    }

    public function onError(ConnectionInterface $conn, Exception $e)
    {
        tell('error', get_class($e), $e->getMessage(), $e->getPrevious() === null ? null : get_class($e->getPrevious()));
        if ($this->kind === 'failing-error') {
            throw new Exception('no errors today');
        }
    }

    private function close(ConnectionInterface $conn, int $code): void
    {
        $result = $code ? $conn->close($code) : $conn->close();
        $sent = $conn->send('too late');
        tell('closed', $result, $sent === $conn, $conn->WebSocket->closing);
    }

    private function property(ConnectionInterface $conn): void
    {
        $conn->seen = ($conn->seen ?? 0) + 1;
        $conn->send("{$conn->seen} {$conn->httpRequest->getUri()->getPath()}");
    }
}

class Speaker extends Table implements Ratchet\WebSocket\WsServerInterface
{
    public function getSubProtocols()
    {
        return ['soap', 'chat'];
    }
}

class Objects implements Ratchet\WebSocket\MessageComponentInterface
{
    public function onOpen(ConnectionInterface $conn)
    {
    }

    public function onMessage(ConnectionInterface $conn, Ratchet\RFC6455\Messaging\MessageInterface $msg)
    {
        tell('object', $msg->isBinary(), $msg->getPayloadLength(), count($msg));
        $conn->send($msg);
    }

    public function onClose(ConnectionInterface $conn)
    {
    }

    public function onError(ConnectionInterface $conn, Exception $e)
    {
        tell('error', get_class($e), $e->getMessage(), null);
    }
}

$kind = $argv[1] ?? 'plain';
$loop = loop();

if ($kind === 'app') {
    $app = new Ratchet\App('localhost', 0, '127.0.0.1', $loop);
    $app->route('/chat/{room}', new Table('plain'));
    $app->route('/open', new Table('plain'), ['*']);
    ready((fn () => $this->_server)->call($app)->socket);
    $app->run();
    exit;
}

$component = match ($kind) {
    'protocols' => new Speaker($kind),
    'objects' => new Objects(),
    default => new Table($kind),
};
$ws = new Ratchet\WebSocket\WsServer($component);
if ($kind === 'keepalive') {
    $ws->enableKeepAlive($loop, 1);
}
if ($kind === 'compressed') {
    Ratchet\Native\Settings::set(['compression' => true, 'maxMessageSize' => '1048576']);
}
if ($kind === 'strict') {
    $ws->setStrictSubProtocolCheck(true);
}
$socket = listen('127.0.0.1:0', $loop);
$server = new Ratchet\Server\IoServer(new Ratchet\Http\HttpServer($ws), $socket, $loop);
ready($socket);
$server->run();
