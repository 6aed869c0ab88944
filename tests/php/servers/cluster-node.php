<?php

declare(strict_types=1);

/**
 * A node of a cluster under test. Each connection subscribes to the topic `feed`, to which the node
 * publishes numbered messages on request.
 *
 * The argument is a JSON object: `listen` (list of addresses), `options` (as in Sprocket\Options),
 * `stream` (0 to 255), and `history` (number of messages to keep; 0 for none).
 *
 * GET /go?count=N&rate=R&size=B   publishes N messages, R a second
 * GET /state                      JSON: counts of messages published and failed, errors, and stats()
 */

use Sprocket\{Connection, History, Options, PublishException, Request, Response, Server};

$config = json_decode($argv[1], true, flags: JSON_THROW_ON_ERROR);
$options = $config['options'];
if ($config['history'] > 0) {
    $options['history'] = ['feed' => new History(messages: $config['history'], bytes: 256 << 20, stamp: '%position%')];
}
$server = new Server($config['listen'], new Options(...$options));
$state = ['published' => 0, 'failed' => 0, 'errors' => [], 'broker' => [], 'answers' => 0, 'resumed' => 0, 'incomplete' => 0];

$server->onOpen(function (Connection $connection) use ($config): void {
    if ($config['history'] > 0) {
        $connection->resume('feed', $connection->request->query()['after'] ?? '');
    } else {
        $connection->subscribe('feed');
    }
});
if ($config['history'] > 0) {
    $server->onResume(function (Connection $c, string $topic, bool $complete, int $messages) use (&$state): void {
        $state['answers']++;
        $state['resumed'] += $messages;
        $state['incomplete'] += (int) !$complete;
    });
}
if (isset($options['broker'])) {
    $server->onBroker(function (bool $connected, string $reason) use (&$state): void {
        $state['broker'][] = [microtime(true), $connected, $reason, $state['published']];
    });
}
$server->onError(function (Throwable $error) use (&$state): void {
    $state['errors'][] = $error->getMessage();
});

$publish = function (int $count, float $rate, int $size) use ($server, $config, &$state): void {
    $begin = microtime(true);
    $timer = $server->every(0.005, function () use ($server, $config, $count, $rate, $size, $begin, &$state, &$timer): void {
        // Publishes at most 100 messages and 50 ms at a time, so that requests for the state do not wait long.
        $now = microtime(true);
        $due = min($count, (int) (($now - $begin) * $rate), $state['published'] + 100);
        while ($state['published'] < $due && microtime(true) - $now < 0.05) {
            $head = sprintf('%02x%08x %s', $config['stream'], $state['published'], $config['history'] > 0 ? '%position% ' : '');
            $state['published']++;
            try {
                $server->publish('feed', str_pad($head, $size, 'x'));
            } catch (PublishException $error) {
                $state['failed']++;
                $state['errors'][] = $error->getMessage();
            }
        }
        if ($state['published'] >= $count) {
            $server->cancel($timer);
        }
    });
};

$server->onRequest(function (Request $request) use ($server, $publish, &$state): Response {
    $query = $request->query();
    if ($request->path() === '/go') {
        $publish((int) $query['count'], (float) $query['rate'], (int) $query['size']);
        return new Response(204);
    }
    $state['errors'] = array_slice($state['errors'], -20);
    return new Response(200, json_encode($state + ['stats' => $server->stats()], JSON_THROW_ON_ERROR));
});

if (($options['workers'] ?? 1) === 1) {
    $server->start();
}
$server->run();
