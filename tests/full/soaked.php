<?php

declare(strict_types=1);

/**
 * The code of the soak test for servers/workers.php: TLS, compression, history and presence, static
 * files, and a chat. Commands of clients:
 *
 *     enter ROOM MEMBER      subscribes with a replay of the room's history, and joins the room's presence
 *     say ROOM TEXT          publishes to the room
 *     leave ROOM             unsubscribes, and leaves the presence
 */

use Sprocket\{Compression, Connection, History, Request, Response, Server, Tls};

$settings['options'] += [
    'tls' => new Tls(...$settings['tls']),
    'compression' => new Compression(threshold: 100, contextTakeover: true),
    'history' => ['room.*' => new History(messages: 20, seconds: 5.0)],
    'staticFiles' => $settings['folder'],
];

function extend(Server $server): void
{
    $server->onMessage(function (Connection $connection, string $payload, bool $binary) use ($server): void {
        [$word, $room, $rest] = explode(' ', $payload, 3) + ['', '', ''];
        switch ($word) {
            case 'enter':
                $connection->resume($room);
                $connection->join($room, $rest);
                break;
            case 'say':
                $server->publish($room, $rest);
                break;
            case 'leave':
                $connection->unsubscribe($room);
                $connection->leave($room);
                $connection->send('left');
                break;
            case 'stats':
                $connection->send(json_encode($server->stats()));
                break;
            default:
                $connection->send($payload, $binary);
        }
    });
    $server->onResume(fn (Connection $connection) => $connection->send('entered'));
    $server->onPresence(fn () => null);
    $server->onRequest(fn (Request $request): Response => new Response(200, strrev($request->body())));
    $server->every(1.0, fn () => $server->presence('room.1'));
}
