<?php

/**
 * The first chats in Ratchet's documentation. Arguments: `web` (the README's, over
 * HttpServer and WsServer), `app` (with App and several routes), `telnet` (raw TCP), `factory`.
 */

require __DIR__ . '/../support/autoload.php';

use Ratchet\ConnectionInterface;
use Ratchet\MessageComponentInterface;

class Chat implements MessageComponentInterface
{
    protected $clients;

    public function __construct()
    {
        $this->clients = new SplObjectStorage();
    }

    public function onOpen(ConnectionInterface $conn)
    {
        $this->clients->attach($conn);
        tell('open', $conn->resourceId, $conn->remoteAddress);
    }

    public function onMessage(ConnectionInterface $from, $msg)
    {
        foreach ($this->clients as $client) {
            if ($from != $client) {
                $client->send($msg);
            }
        }
    }

    public function onClose(ConnectionInterface $conn)
    {
        tell('close', $this->clients->contains($conn));
        $this->clients->detach($conn);
    }

    public function onError(ConnectionInterface $conn, Exception $e)
    {
        $conn->close();
    }
}

switch ($argv[1]) {
    case 'web':
        $loop = loop();
        $socket = listen('127.0.0.1:0', $loop);
        $server = new Ratchet\Server\IoServer(
            new Ratchet\Http\HttpServer(new Ratchet\WebSocket\WsServer(new Chat())),
            $socket,
            $loop
        );
        ready($socket);
        $server->run();
        break;
    case 'telnet':
        $server = Ratchet\Server\IoServer::factory(new Chat(), 0, '127.0.0.1');
        ready($server->socket);
        $server->run();
        break;
    case 'factory':
        $server = Ratchet\Server\IoServer::factory(
            new Ratchet\Http\HttpServer(new Ratchet\WebSocket\WsServer(new Chat())),
            0,
            '127.0.0.1'
        );
        ready($server->socket);
        $server->run();
        break;
    case 'app':
        $app = new Ratchet\App('localhost', 0);
        $app->route('/chat', new Chat(), ['*']);
        $app->route('/echo', new Ratchet\Server\EchoServer(), ['*']);
        ready((fn () => $this->_server)->call($app)->socket);
        $app->run();
        break;
}
