--TEST--
The log reports connections closed for a limit or a protocol violation, and no others
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/logger.inc';

use Sprocket\{Connection, Options, Server};

function closed(Closure $act, array $options = []): void
{
    $log = new Lines();
    $server = new Server('ws://127.0.0.1:0', new Options(...$options, logger: $log, pingTimeout: 0.1));
    $server->onOpen(function (Connection $c) use (&$connection): void { $connection = $c; });
    $server->onClose(function () use (&$over): void { $over = true; });
    $server->start();
    $client = Client::of($server)->open();
    pump($server, function () use (&$connection): bool { return $connection !== null; });
    $act($client, $connection);
    pump($server, function () use (&$over): bool { return $over === true; });
    $line = $log->of('connection.closed')[0] ?? null;
    if ($line === null) {
        echo "no line\n";
        return;
    }
    [$level, $message, $context] = $line;
    $id = $connection->id;
    echo $context['connection'] === $id && $context['remotePort'] === $connection->remotePort ? '' : 'another connection: ';
    echo $level, ' ', $context['code'], ' ', $context['option'] ?? 'none', ' ';
    echo $message === "Connection $id from 127.0.0.1 closed with {$context['code']}: {$context['reason']}" ? 'ok' : $message, "\n";
}

closed(fn (Client $client) => $client->send('12345'), ['maxMessageSize' => 4]);
closed(fn (Client $client) => $client->send("\xff"));
closed(fn (Client $client) => $client->frame(3));
closed(function (Client $client, Connection $c): void {
    while ($c->send(str_repeat('x', 100_000))) {
    }
}, ['sendBufferLimit' => 100_000]);
closed(fn () => null, ['pingInterval' => 0.1]);
closed(fn (Client $client, Connection $c) => $c->close(), ['closeTimeout' => 0.1]);
closed(fn (Client $client, Connection $c) => $client->sendClose());
closed(fn (Client $client, Connection $c) => $client->drop());
closed(fn (Client $client, Connection $c) => $c->terminate());
--EXPECT--
notice 1009 maxMessageSize ok
notice 1007 none ok
notice 1002 none ok
notice 1013 sendBufferLimit ok
info 1006 pingTimeout ok
info 1006 closeTimeout ok
no line
no line
no line
