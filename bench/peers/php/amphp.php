<?php
/**
 * amphp/websocket-server on Revolt. Arguments: AUTOLOAD PORT echo|fan|chat. See bench/README.md.
 */
declare(strict_types=1);

require __DIR__ . '/common.php';
require $argv[1];

use Amp\Http\Server\DefaultErrorHandler;
use Amp\Http\Server\Request;
use Amp\Http\Server\Response;
use Amp\Http\Server\SocketHttpServer;
use Amp\Websocket\Server\Rfc6455Acceptor;
use Amp\Websocket\Server\Rfc6455ClientFactory;
use Amp\Websocket\Server\Websocket;
use Amp\Websocket\Server\WebsocketClientHandler;
use Amp\Websocket\WebsocketClient;
use Psr\Log\NullLogger;

use function Amp\trapSignal;

[$port, $mode] = port_and_mode($argv);

$handler = new class (new Audience($mode)) implements WebsocketClientHandler {
    public function __construct(private readonly Audience $audience)
    {
    }

    public function handleClient(WebsocketClient $client, Request $request, Response $response): void
    {
        $id = $client->getId();
        $this->audience->open($id, $client);
        try {
            foreach ($client as $message) {
                $binary = $message->isBinary();
                $payload = $message->buffer();
                foreach ($this->audience->of($id, $payload) as $member) {
                    $binary ? $member->sendBinary($payload) : $member->sendText($payload);
                }
            }
        } finally {
            $this->audience->close($id);
        }
    }
};

$logger = new NullLogger();
$server = SocketHttpServer::createForDirectAccess(
    $logger,
    connectionLimit: 100_000,
    connectionLimitPerIp: 100_000,
    concurrencyLimit: null,
);
$server->expose("127.0.0.1:$port");
// Disables the default limit of 100 messages a second per connection.
$clients = new Rfc6455ClientFactory(rateLimit: null);
$websocket = new Websocket($server, $logger, new Rfc6455Acceptor(), $handler, null, $clients);
$server->start($websocket, new DefaultErrorHandler());
echo 'ready ', $server->getServers()[0]->getAddress()->getPort(), "\n";
trapSignal([SIGTERM, SIGINT]);
$server->stop();
