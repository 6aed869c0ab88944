--TEST--
Exceptions from every callback reach onError
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(sendBufferLimit: 1 << 20));
$server->onError(function (Throwable $e, ?Sprocket\Connection $c) use (&$seen) {
    $seen[] = $e->getMessage() . ($c ? ' with' : ' without') . ' connection';
});
$thrower = fn (string $name) => function () use ($name) { throw new Exception($name); };
$server->onOpen(function ($c) use ($server) {
    $c->ping('?');
    $c->send(str_repeat('x', 900_000));
    throw new Exception('onOpen');
});
foreach (['onMessage', 'onClose', 'onDrain', 'onPong', 'onRequest'] as $name) {
    $server->$name($thrower($name));
}
$server->start();
$server->after(0, $thrower('timer'));
$client = Client::of($server)->open();
$client->message();
$client->frame(Client::PONG, '?')->send('hello');
pump($server, function () use (&$seen) { return count($seen) >= 5; });
$client->close();
pump($server, function () use (&$seen) { return count($seen) >= 6; });
echo Client::of($server)->raw("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")->response()->status, "\n";
$server->onUpgrade($thrower('onUpgrade'));
$client = Client::of($server);
echo $client->raw($client->upgradeRequest())->response()->status, "\n";
sort($seen);
echo implode("\n", $seen), "\n";
--EXPECT--
500
500
onClose with connection
onDrain with connection
onMessage with connection
onOpen with connection
onPong with connection
onRequest without connection
onUpgrade without connection
timer without connection
