<?php

declare(strict_types=1);

/**
 * Three machines as network namespaces: `a` and `b` for nodes, and one for the broker. Virtual cables
 * connect the nodes to the broker, which does not route, so the nodes cannot reach each other. Needs
 * root and `ip`.
 *
 * Subscribers run on the machine of their node and connect over loopback. The test itself reaches a
 * node over a Unix socket, which network namespaces do not separate.
 */
final class Cluster
{
    private const BROKER = 'c';

    public readonly string $folder;
    /** The start of a command line on a machine, as in `$in['a']`. @var array<string, list<string>> */
    private array $in = [];
    /** @var array<string, Child> */
    private array $nodes = [];
    private ?Child $broker = null;
    /** @var list<Child> */
    private array $watchers = [];

    private function __construct(public readonly string $kind, private readonly string $program, private readonly string $load)
    {
        $mark = bin2hex(random_bytes(3));
        $this->folder = sys_get_temp_dir() . "/sprocket-cluster-$mark";
        mkdir($this->folder, 0700);
        foreach (['a', 'b', self::BROKER] as $machine) {
            $name = "spr$mark$machine";
            self::ip(['netns', 'add', $name]);
            $this->in[$machine] = ['ip', 'netns', 'exec', $name];
            self::ip(['-n', $name, 'link', 'set', 'lo', 'up']);
        }
        foreach (['a' => 1, 'b' => 2] as $machine => $net) {
            [$here, $there] = [end($this->in[$machine]), end($this->in[self::BROKER])];
            self::ip(['-n', $here, 'link', 'add', 'up0', 'type', 'veth', 'peer', 'name', "to-$machine", 'netns', $there]);
            self::ip(['-n', $here, 'address', 'add', "10.203.$net.2/30", 'dev', 'up0']);
            self::ip(['-n', $there, 'address', 'add', "10.203.$net.1/30", 'dev', "to-$machine"]);
            self::ip(['-n', $here, 'link', 'set', 'up0', 'up']);
            self::ip(['-n', $there, 'link', 'set', "to-$machine", 'up']);
        }
    }

    /** Builds the machines. Returns null, and the reason in $missing, if that is impossible. $kind is `redis` or `nats`. */
    public static function start(string $kind, ?string &$missing): ?self
    {
        $program = self::program($kind === 'redis' ? 'redis-server' : 'nats-server');
        $load = dirname(__DIR__, 3) . '/bench/target/release/wsload';
        $missing = match (true) {
            fileowner('/proc/self/') !== 0 => 'network namespaces need root',
            self::program('ip') === null => 'there is no ip (iproute2)',
            $program === null => "there is no $kind-server",
            !is_executable($load) => "the load generator is not built ($load)",
            !self::may() => 'network namespaces are not allowed here',
            default => null,
        };
        return $missing === null ? new self($kind, $program, $load) : null;
    }

    public function startBroker(): void
    {
        $command = $this->kind === 'redis'
            ? [$this->program, '--port', '6379', '--bind', '0.0.0.0', '--protected-mode', 'no', '--save', '',
                '--appendonly', 'no', '--dir', $this->folder,
                '--client-output-buffer-limit', 'pubsub', '256mb', '256mb', '60']
            : [$this->program, '-a', '0.0.0.0', '-p', '4222', '-js', '-sd', "$this->folder/nats"];
        $this->broker = new Child([...$this->in[self::BROKER], ...$command]);
        $this->broker->line($this->kind === 'redis' ? '/Ready to accept connections/' : '/Server is ready/');
    }

    public function killBroker(): void
    {
        $this->broker->signal(9);
        $this->broker->wait();
        $this->broker = null;
    }

    /** Cuts or restores the cable to a machine. */
    public function cable(string $machine, bool $works): void
    {
        self::ip(['-n', end($this->in[$machine]), 'link', 'set', 'up0', $works ? 'up' : 'down']);
        if ($works) {
            // Taking the link down has removed the route to the broker.
            $net = $machine === 'a' ? 1 : 2;
            @self::ip(['-n', end($this->in[$machine]), 'route', 'replace', "10.203.$net.0/30", 'dev', 'up0']);
        }
    }

    /** @param array<string, mixed> $options As in Sprocket\Options */
    public function startNode(string $machine, array $options = [], int $history = 0, bool $alone = false): void
    {
        $net = $machine === 'a' ? 1 : 2;
        $port = $this->kind === 'redis' ? 6379 : 4222;
        $config = [
            'listen' => ['ws://127.0.0.1:8080', "unix://$this->folder/$machine.sock"],
            'options' => $options + ['sendBufferLimit' => 64 << 20, 'handshakeTimeout' => 60.0]
                + ($alone ? [] : ['broker' => "$this->kind://10.203.$net.1:$port"]),
            'stream' => $machine === 'a' ? 0 : 1,
            'history' => $history,
        ];
        $extension = getenv('SPROCKET_SO');
        $this->nodes[$machine] = new Child([
            ...$this->in[$machine], PHP_BINARY, '-n', ...($extension ? ['-d', "extension=$extension"] : []),
            dirname(__DIR__) . '/servers/cluster-node.php', json_encode($config),
        ]);
        until(fn (): bool => $this->ask($machine, '/state', true) !== null, "node $machine answers", 20);
        if (!$alone) {
            until(fn (): bool => $this->isConnected($machine), "node $machine has reached the broker", 20);
        }
    }

    public function isConnected(string $machine): bool
    {
        $changes = $this->state($machine)['broker'];
        return $changes !== [] && end($changes)[1];
    }

    public function node(string $machine): Child
    {
        return $this->nodes[$machine];
    }

    public function killNode(string $machine): void
    {
        $this->nodes[$machine]->signal(9);
        $this->nodes[$machine]->wait();
        unset($this->nodes[$machine]);
    }

    /** Makes a node publish; returns at once. */
    public function publish(string $machine, int $count, float $rate, int $size = 64): void
    {
        $this->ask($machine, "/go?count=$count&rate=$rate&size=$size");
    }

    /** The state that a node reports about itself. */
    public function state(string $machine): array
    {
        return json_decode($this->ask($machine, '/state'), true, flags: JSON_THROW_ON_ERROR);
    }

    /** Connects subscribers to a node. They watch until all messages have arrived, or none arrives for $patience seconds. */
    public function watch(string $machine, int $subscribers, int $streams, int $count, float $patience, bool $reopen = false): Child
    {
        $watcher = new Child([
            ...$this->in[$machine], $this->load, 'watch', '--url', 'ws://127.0.0.1:8080/',
            '--connections', (string) $subscribers, '--streams', (string) $streams, '--count', (string) $count,
            '--settle', (string) $patience, '--seconds', '1200', ...($reopen ? ['--reopen'] : []),
        ]);
        $watcher->line('/^watching$/', 60);
        return $this->watchers[] = $watcher;
    }

    /** The report of subscribers, once they have finished. */
    public static function report(Child $watcher, float $timeout = 60): array
    {
        $line = $watcher->line('/^\{/', $timeout);
        $watcher->wait();
        return json_decode($line, true, flags: JSON_THROW_ON_ERROR);
    }

    /** Waits until a node has published $count messages, and returns its state. */
    public function published(string $machine, int $count, float $timeout = 60): array
    {
        until(fn (): bool => $this->state($machine)['published'] >= $count, "node $machine has published", $timeout);
        return $this->state($machine);
    }

    private function ask(string $machine, string $target, bool $patient = false): ?string
    {
        $stream = @stream_socket_client("unix://$this->folder/$machine.sock", $errno, $error, 5);
        if ($stream === false) {
            return $patient ? null : throw new RuntimeException("node $machine: $error\n" . $this->nodes[$machine]->output);
        }
        stream_set_timeout($stream, 60);
        fwrite($stream, "GET $target HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
        $answer = stream_get_contents($stream);
        [$head, $body] = explode("\r\n\r\n", $answer, 2) + [1 => ''];
        check((bool) preg_match('~^HTTP/1.1 20~', $head), "node $machine answers $target with: $answer");
        return $body;
    }

    private static function may(): bool
    {
        $name = 'spr' . bin2hex(random_bytes(3));
        try {
            self::ip(['netns', 'add', $name]);
            self::ip(['-n', $name, 'link', 'add', 'up0', 'type', 'veth']);
            return true;
        } catch (RuntimeException) {
            return false;
        } finally {
            try {
                self::ip(['netns', 'delete', $name]);
            } catch (RuntimeException) {
                // The namespace was never created.
            }
        }
    }

    /** @param list<string> $arguments */
    private static function ip(array $arguments): void
    {
        exec(implode(' ', array_map('escapeshellarg', ['ip', ...$arguments])) . ' 2>&1', $output, $status);
        check($status === 0, 'ip ' . implode(' ', $arguments) . ': ' . implode(' ', $output));
    }

    private static function program(string $name): ?string
    {
        foreach ([...explode(':', getenv('PATH') ?: ''), '/usr/sbin', '/sbin'] as $folder) {
            if (is_executable("$folder/$name")) {
                return "$folder/$name";
            }
        }
        return null;
    }

    public function __destruct()
    {
        foreach ([...$this->watchers, ...$this->nodes, $this->broker] as $child) {
            if ($child?->isRunning()) {
                $child->signal(9);
                $child->wait();
            }
        }
        foreach ($this->in as $in) {
            try {
                self::ip(['netns', 'delete', end($in)]);
            } catch (RuntimeException $e) {
                fwrite(STDERR, "{$e->getMessage()}\n");
            }
        }
        exec('rm -rf ' . escapeshellarg($this->folder));
    }
}
