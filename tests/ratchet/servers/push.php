<?php

/**
 * The shape of "push integration": the application makes its own loop and sockets, another
 * protocol feeds messages in, and the application runs the loop. Arguments: `own` (IoServer
 * without the loop), `given` (IoServer with it).
 */

require __DIR__ . '/../support/autoload.php';

use Ratchet\ConnectionInterface;
use Ratchet\Wamp\Topic;
use Ratchet\Wamp\WampServerInterface;

class Pusher implements WampServerInterface
{
    /** @var array<string, Topic> */
    private array $topics = [];

    /** Number of native publications. */
    public ?Closure $published = null;

    public function onBlogEntry(string $json): void
    {
        $entry = json_decode($json, true);
        if (isset($this->topics[$entry['category']])) {
            $this->topics[$entry['category']]->broadcast($entry);
        }
    }

    public function onSubscribe(ConnectionInterface $conn, $topic)
    {
        $this->topics[$topic->getId()] = $topic;
        tell('subscribe', (string) $topic, count($topic));
    }

    public function onUnSubscribe(ConnectionInterface $conn, $topic)
    {
        tell('unsubscribe', (string) $topic, count($topic));
    }

    public function onOpen(ConnectionInterface $conn)
    {
        tell('open');
    }

    public function onClose(ConnectionInterface $conn)
    {
        tell('close');
    }

    public function onCall(ConnectionInterface $conn, $id, $topic, array $params)
    {
        if ($topic->getId() === 'urn:published') {
            $conn->callResult($id, [$this->published ? ($this->published)() : null]);

            return;
        }
        $topic->getId() === 'urn:sum'
            ? $conn->callResult($id, ['sum' => array_sum($params)])
            : $conn->callError($id, $topic, 'no such procedure', ['params' => $params]);
    }

    public function onPublish(ConnectionInterface $conn, $topic, $event, array $exclude, array $eligible)
    {
        tell('publish', $topic->getId(), $event, count($exclude), count($eligible));
        if ($event === 'ordered') {
            $conn->event($topic, 'before');
            $topic->broadcast($event, $exclude, $eligible);
            $conn->event($topic, 'after');

            return;
        }
        $topic->broadcast($event, $exclude, $eligible);
    }

    public function onError(ConnectionInterface $conn, Exception $e)
    {
        tell('error', $e->getMessage());
    }
}

$loop = loop();
$pusher = new Pusher();

// Stands for ZeroMQ or Redis: a line on this socket is an entry.
$feed = listen('127.0.0.1:0', $loop);
$feed->on('connection', function ($connection) use ($pusher, $loop) {
    $connection->on('data', fn ($data) => $pusher->onBlogEntry($data));
});
tell('feed', parse_url($feed->getAddress(), PHP_URL_PORT));

$loop->addPeriodicTimer(0.05, function () {
    static $ticks = 0;
    $ticks++;
    if ($ticks % 20 === 0) {
        tell('ticks', $ticks);
    }
});

$web = listen('127.0.0.1:0', $loop);
$app = new Ratchet\Http\HttpServer(new Ratchet\WebSocket\WsServer(new Ratchet\Wamp\WampServer($pusher)));
$server = $argv[1] === 'own'
    ? new Ratchet\Server\IoServer($app, $web)
    : new Ratchet\Server\IoServer($app, $web, $loop);
if (!getenv('RATCHET_AUTOLOAD')) {
    $pusher->published = fn () => (fn () => $this->engine)->call($server)->server()->stats()['published'] ?? null;
}
ready($web);

if (defined('SIGTERM')) {
    $loop->addSignal(SIGTERM, function () use ($loop) {
        tell('stopping');
        $loop->stop();
    });
}
$loop->run();
tell('stopped');
