<?php

declare(strict_types=1);

/** Uses every part of the API for its clients. Ends after as many clients as the argument says. */

use Sprocket\{Connection, Handshake, History, Options, Request, Response, Server};

$server = new Server('ws://127.0.0.1:0', new Options(
    subprotocols: ['a', 'b'], maxMessageSize: 100_000, history: ['room.*' => new History(stamp: '@')],
));
$closed = 0;

$server->onUpgrade(function (Handshake $h) use ($server): void {
    match ($h->request->path()) {
        '/reject' => $h->reject(401, 'no', ['X-Why' => ['a', 'b']]),
        '/later' => $server->after(0.001, fn () => $h->accept('a', ['X-One' => '1'], [$h])),
        '/throw' => throw new RuntimeException('refused by an exception'),
        default => $h->accept(data: [$h, $h->request->cookies(), $h->request->query(), $h->request->headers()]),
    };
});
$server->onOpen(function (Connection $c): void {
    $c->send('welcome');
    $c->join('room.1', "member $c->id", 'data');
    $c->resume('room.1', 'nowhere');
    $c->ping('?');
});
$server->onMessage(function (Connection $c, string $payload, bool $binary) use ($server): void {
    match (substr($payload, 0, 5)) {
        'throw' => throw new RuntimeException('thrown'),
        'close' => $c->close(4000, 'bye'),
        'cut' => $c->terminate(),
        'timer' => $server->after(0, fn () => $c->send('timer')),
        default => $c->send($payload, $binary),
    };
});
$server->onResume(function (Connection $c, string $topic, bool $complete, int $messages, string $position): void {
    $c->data[] = [$topic, $complete, $messages, $position];
    $c->unsubscribe('room.1');
});
$server->onPresence(fn (string $topic, string $member, bool $joined, string $data): array => $server->presence($topic));
$server->onPong(fn (Connection $c, string $payload) => $c->data[] = $payload);
$server->onClose(function () use ($server, &$closed, $argv): void {
    if (++$closed === (int) $argv[1]) {
        $server->stop();
    }
});
$server->onRequest(fn (Request $r): Response => new Response(200, $r->body() . $r->path(), ['X-Two' => ['1', '2']]));
$server->onError(function (Throwable $e, ?Connection $c): void {
    $c?->send('error');
});
$server->every(0.05, fn () => $server->stats());
$server->start();
// The address is printed inside run(), which has installed the SIGTERM handler by then.
$server->after(0.0, function () use ($server): void {
    echo $server->addresses()[0], "\n";
});
$server->run();
echo "done\n";
