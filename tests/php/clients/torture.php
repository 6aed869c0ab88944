<?php

declare(strict_types=1);

/**
 * Calls the API at random, with valid and invalid arguments, inside callbacks and outside:
 * `torture.php SEED STEPS`. Any exception is fine. At the end the script releases everything, and
 * prints "done", or the classes of the objects that remain.
 */

require __DIR__ . '/../../phpt/inc/client.inc';

use Sprocket\{Connection, Handshake, Options, Request, Response, Server};

const CALLBACKS = ['onUpgrade', 'onOpen', 'onMessage', 'onClose', 'onDrain', 'onPong', 'onRequest', 'onError'];

error_reporting(E_ALL & ~E_WARNING & ~E_NOTICE & ~E_DEPRECATED);

final class Torture
{
    /** @var array<class-string, list<object>> */
    private array $objects = [Server::class => [], Connection::class => [], Handshake::class => [], Request::class => []];

    /** @var list<Client> */
    private array $clients = [];
    private array $timers = [];
    private array $kept = [];
    private int $depth = 0;
    private WeakMap $all;

    public function __construct()
    {
        $this->all = new WeakMap();
    }

    public function run(int $steps): void
    {
        for ($i = 0; $i < $steps; $i++) {
            $this->step();
        }
    }

    /** Releases everything, and returns the classes of the objects that remain. */
    public function left(): array
    {
        foreach ($this->clients as $client) {
            $client->drop();
        }
        $this->objects = $this->clients = $this->kept = $this->timers = [];
        gc_collect_cycles();
        gc_collect_cycles();
        $left = [];
        foreach ($this->all as $object => $_) {
            $left[] = $object::class;
        }
        return $left;
    }

    private function step(): void
    {
        if ($this->depth > 3) {
            return;
        }
        $this->depth++;
        try {
            $this->act();
        } catch (Throwable) {
        }
        $this->depth--;
    }

    private function act(): void
    {
        $server = $this->any(Server::class);
        $connection = $this->any(Connection::class);
        switch (mt_rand(0, 16)) {
            case 0:
                $this->newServer();
                break;
            case 1:
            case 2:
                $server?->poll(self::pick([0.0, 0.005]), mt_rand(1, 20));
                break;
            case 3:
                mt_rand(0, 3) ? $server?->start() : $server?->stop(self::pick([0.0, 0.01, 5.0]));
                break;
            case 4:
                $server?->{self::pick(CALLBACKS)}($this->callback());
                break;
            case 5:
            case 6:
                $server?->isRunning() && $this->newClient($server);
                break;
            case 7:
            case 8:
                $client = self::pick($this->clients);
                $client?->stream && $client->raw(self::pick([
                    Client::encode(Client::TEXT, 'hello'), Client::encode(Client::BINARY, str_repeat("\0", 5000)),
                    Client::encode(Client::PING, 'p'), Client::encode(Client::PONG, 'p'), 'garbage',
                    Client::encode(Client::CLOSE, pack('n', 1000)), Client::encode(Client::TEXT, "\xff"),
                    Client::encode(Client::TEXT, 'a', false), Client::encode(Client::CONTINUATION, 'b'),
                ]));
                break;
            case 9:
                array_shift($this->clients)?->drop();
                break;
            case 10:
                $connection?->send(self::pick(['text', str_repeat('z', 100_000)]), (bool) mt_rand(0, 1));
                break;
            case 11:
                if ($connection) {
                    $connection->data = self::pick([$connection, [$connection], $server, $this->callback(), $this->junk()]);
                }
                break;
            case 12:
                $this->timers[] = $server?->{self::pick(['after', 'every'])}(self::pick([0.001, 0.01]), $this->callback() ?? 'time');
                count($this->timers) > 5 && $server?->cancel((int) array_shift($this->timers));
                break;
            case 13:
                gc_collect_cycles();
                break;
            case 14:
                array_pop($this->objects[self::pick(array_keys($this->objects))]);
                $this->kept = [];
                break;
            case 15:
                $this->anyMethod($this->any(self::pick(array_keys($this->objects))));
                break;
            case 16:
                $this->anyOperator($this->any(self::pick(array_keys($this->objects))));
                break;
        }
    }

    private function newServer(): void
    {
        $options = new Options(closeTimeout: 0.05, handshakeTimeout: 0.3, pingInterval: 0.05, pingTimeout: 0.05);
        $server = new Server(self::pick(['ws://127.0.0.1:0', ['ws://127.0.0.1:0', 'ws://127.0.0.1:0']]), self::pick([null, $options]));
        foreach (CALLBACKS as $setter) {
            mt_rand(0, 2) && $server->$setter($this->callback());
        }
        mt_rand(0, 4) && $server->start();
        $this->remember([$server]);
    }

    private function newClient(Server $server): void
    {
        $client = new Client($server->addresses()[0], fn () => usleep(500));
        $client->raw(self::pick([
            $client->upgradeRequest(), $client->upgradeRequest() . Client::encode(Client::TEXT, 'early'),
            $client->upgradeRequest(['Sec-WebSocket-Protocol' => 'a'], '/x?y=1'),
            "GET /p HTTP/1.1\r\nHost: x\r\n\r\n", "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
        ]));
        $this->clients[] = $client;
        count($this->clients) > 12 && array_shift($this->clients)->drop();
    }

    private function callback(): mixed
    {
        return self::pick([
            null,
            fn (...$a) => $this->remember($a),
            function (...$a) { $this->remember($a); $this->step(); },
            function (...$a) { $this->remember($a); throw new Exception('from a callback'); },
            function (...$a) { $this->remember($a); return self::pick([null, 5, new Response(200, 'b'), new Response(500)]); },
            function (...$a) { $this->kept[] = $a; $this->step(); gc_collect_cycles(); },
            'strlen',
        ]);
    }

    private function remember(array $objects): void
    {
        foreach ($objects as $object) {
            if (is_object($object)) {
                $this->all[$object] = true;
                $this->objects[$object::class][] = $object;
                count($this->objects[$object::class]) > 5 && array_shift($this->objects[$object::class]);
            }
            if ($object instanceof Handshake && mt_rand(0, 3)) {
                $object->accept(data: self::pick([null, $object]));
            }
        }
    }

    private function anyMethod(?object $object): void
    {
        $method = $object ? self::pick(get_class_methods($object)) : '__construct';
        if (in_array($method, ['run', 'poll', 'stop', '__construct'], true)) {
            return;
        }
        $object->$method(...array_map(fn () => $this->junk(), array_fill(0, mt_rand(0, 3), 0)));
    }

    private function anyOperator(?object $object): void
    {
        self::pick([
            fn () => clone $object, fn () => serialize($object), fn () => print_r($object, true), fn () => (array) $object,
            fn () => $object == $this->junk(), fn () => $object <=> $this->junk(), fn () => json_encode($object),
            fn () => $object->nonsense ?? null, fn () => get_object_vars($object), fn () => $object->id = 5,
        ])();
    }

    private function junk(): mixed
    {
        return self::pick([
            null, 0, -1, 1, PHP_INT_MAX, PHP_INT_MIN, 1.5, NAN, INF, '', 'x', "\xff", str_repeat('y', 70_000), [], ['a' => 'b'],
            ['a'], [[[]]], new stdClass(), fn () => 1, true, "a\r\nb", STDIN, ['X-A' => 'b'], 4000, 403,
            $this->any(Server::class), $this->any(Connection::class),
        ]);
    }

    private function any(string $class): ?object
    {
        return self::pick($this->objects[$class]);
    }

    private static function pick(array $from): mixed
    {
        return $from ? $from[array_rand($from)] : null;
    }
}

[, $seed, $steps] = $argv;
mt_srand((int) $seed);
$torture = new Torture();
$torture->run((int) $steps);
$left = array_count_values($torture->left());
$threads = count(scandir('/proc/self/task')) - 2;
echo $left || $threads > 1 ? 'left: ' . json_encode($left) . " and $threads threads\n" : "done\n";
