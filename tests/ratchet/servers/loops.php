<?php

/**
 * Applications that use the loop around the server, each in the way that the argument names.
 */

require __DIR__ . '/../support/autoload.php';

use Ratchet\ConnectionInterface;
use Ratchet\Http\HttpServer;
use Ratchet\Server\IoServer;
use Ratchet\WebSocket\WsServer;

class Application implements Ratchet\MessageComponentInterface
{
    public SplObjectStorage $clients;
    public ?Closure $command = null;

    public function __construct()
    {
        $this->clients = new SplObjectStorage();
    }

    public function onOpen(ConnectionInterface $conn)
    {
        $this->clients->attach($conn);
    }

    public function onMessage(ConnectionInterface $from, $msg)
    {
        if ($msg === 'native') {
            $from->send(is_a((fn () => $this->wrappedConn)->call($from), 'Ratchet\\Native\\Link') ? 'yes' : 'no');
        } elseif ($msg === 'clients') {
            $from->send((string) count($this->clients));
        } elseif ($this->command === null || !($this->command)($msg, $from)) {
            $from->send($msg);
        }
    }

    public function onClose(ConnectionInterface $conn)
    {
        $this->clients->detach($conn);
        tell('close', $conn->WebSocket->closeCode ?? null);
    }

    public function onError(ConnectionInterface $conn, Exception $e)
    {
        tell('error', $e->getMessage());
    }
}

$kind = $argv[1];
$loop = loop();
$application = new Application();
$http = new HttpServer(new WsServer($application));
$socket = match ($kind) {
    'tls' => new React\Socket\SecureServer(new React\Socket\TcpServer('127.0.0.1:0', $loop), $loop, json_decode($argv[2], true)),
    'unix' => new React\Socket\UnixServer($argv[2], $loop),
    'limit', 'pause' => new React\Socket\LimitingServer(new React\Socket\TcpServer('127.0.0.1:0', $loop), 2, $kind === 'pause'),
    default => listen('127.0.0.1:0', $loop),
};
$server = new IoServer($http, $socket, $loop);

switch ($kind) {
    case 'limit':
    case 'pause':
        $socket->on('error', fn (Exception $e) => tell('limited', $e->getMessage()));
        $application->command = fn ($msg, $from) => $msg === 'connections' && $from->send((string) count($socket->getConnections()));
        break;
    case 'timers':
        // Sends from a timer of the loop, outside all callbacks of the server, and adds a PHP stream.
        $loop->addPeriodicTimer(0.05, function () use ($application) {
            foreach ($application->clients as $client) {
                $client->send('tick');
            }
        });
        break;
    case 'streams':
        // A connection to a database that is opened while thousands of clients are there.
        $application->command = function ($msg, $from) use ($loop) {
            if ($msg !== 'database') {
                return false;
            }
            [$ours, $theirs] = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);
            $loop->addReadStream($ours, function ($stream) use ($from, $loop, $theirs) {
                $loop->removeReadStream($stream);
                $from->send('row ' . fgets($stream));
            });
            $loop->addTimer(0.01, fn () => fwrite($theirs, "42\n"));

            return true;
        };
        break;
    case 'fork':
        $pid = pcntl_fork();
        if ($pid > 0) {
            pcntl_waitpid($pid, $status);
            exit(pcntl_wexitstatus($status));
        }
        tell('forked', getmypid());
        break;
    case 'closing':
        $application->command = function ($msg) use ($server) {
            return $msg === 'stop accepting' && [$server->socket->close()];
        };
        break;
    case 'await':
        // Like Clue\React\Block\await(), runs the loop until a result is there.
        $application->command = function ($msg, $from) use ($loop) {
            if ($msg !== 'await') {
                return false;
            }
            $loop->addTimer(0.2, fn () => $loop->stop());
            $loop->run();
            $from->send('awaited');

            return true;
        };
        break;
    case 'memory':
        $application->command = function ($msg, $from) {
            if ($msg !== 'memory') {
                return false;
            }
            gc_disable();
            $from->send((string) memory_get_usage());

            return true;
        };
        break;
    case 'late-keepalive':
        $loop->addTimer(0.3, function () use ($http, $loop, $application) {
            tell('enabling');
            $ws = (fn () => $this->_httpServer)->call($http);
            $ws->enableKeepAlive($loop, 0.5);
        });
        break;
}
if ($kind === 'unix') {
    tell('ready', 0);
} else {
    ready($socket);
}
do {
    $loop->run();
} while ($kind === 'await');
tell('loop ended');
