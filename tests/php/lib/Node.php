<?php

declare(strict_types=1);

/** All processes of servers/workers.php. The destructor ends those that are left. */
final class Node
{
    /** Process id of the master. */
    public readonly int $pid;

    /** @var list<int> Processes seen so far, except the master. */
    private array $seen = [];

    private function __construct(public readonly TestServer $server, private readonly ?string $folder)
    {
        $this->pid = $server->child->pid;
    }

    /** @param string|null $code Contents of a file that {@see change()} can replace */
    public static function start(array $options = [], ?string $code = null, array $more = []): self
    {
        $options += ['workers' => 2, 'closeTimeout' => 0.5];
        $settings = ['options' => $options] + $more;
        $folder = null;
        if ($code !== null) {
            $folder = sys_get_temp_dir() . '/sprocket-node-' . bin2hex(random_bytes(6));
            mkdir($folder);
            file_put_contents("$folder/code.php", "<?php\n$code");
            $settings['code'] = "$folder/code.php";
        }
        $json = json_encode($settings, JSON_PRESERVE_ZERO_FRACTION);
        $node = new self(TestServer::script(__DIR__ . '/../servers/workers.php', $json), $folder);
        for ($i = 0; $i < $options['workers']; $i++) {
            $node->server->child->line('/^worker \d+ \d+ starts$/');
        }
        until(fn (): bool => count($node->children()) > $options['workers'], 'a hub');
        return $node;
    }

    /** Replaces the code on disk. */
    public function change(string $code): void
    {
        file_put_contents("$this->folder/code.php", "<?php\n$code");
    }

    /** @return list<int> Child processes of the master. */
    public function children(): array
    {
        $found = [];
        foreach (glob('/proc/[0-9]*/stat') as $file) {
            $stat = @file_get_contents($file);
            if ($stat && preg_match('/^(\d+) .*\) (\S) (\d+) /', $stat, $m) && (int) $m[3] === $this->pid) {
                $found[] = (int) $m[1];
            }
        }
        $this->seen = array_values(array_unique([...$this->seen, ...$found]));
        return $found;
    }

    /** The hub, which is the only child that is not a worker. */
    public function hub(): int
    {
        $workers = array_map(fn (Client $c): int => $this->who($c)->pid, $this->all_workers());
        $rest = array_values(array_diff($this->children(), $workers));
        same(1, count($rest), 'processes that are not workers');
        return $rest[0];
    }

    /** The answer of a worker to "who". */
    public function who(Client $client): object
    {
        return json_decode($client->send('who')->message(), flags: JSON_THROW_ON_ERROR);
    }

    /** @return array<int, Client> One connection to each of these workers, by worker number. */
    public function clients(int ...$numbers): array
    {
        $found = [];
        $deadline = microtime(true) + 20;
        while (count($found) < count($numbers)) {
            if (microtime(true) > $deadline) {
                throw new RuntimeException('some workers got no connection');
            }
            try {
                $client = $this->server->open();
                $number = $this->who($client)->worker;
            } catch (RuntimeException) {
                continue; // this worker is about to end
            }
            if (in_array($number, $numbers, true) && !isset($found[$number])) {
                $found[$number] = $client;
            } else {
                $client->drop();
            }
        }
        ksort($found);
        return $found;
    }

    /** @return array<int, Client> */
    private function all_workers(): array
    {
        return $this->clients(...range(1, count($this->children()) - 1));
    }

    public function line(string $pattern, float $timeout = 20.0): string
    {
        return $this->server->child->line($pattern, $timeout);
    }

    public function reload(): void
    {
        $this->server->child->signal(1);
    }

    /** Ends the server as an operator does, and requires exit status 0. */
    public function stop(): void
    {
        same(0, $this->server->stop(), 'exit status');
    }

    public function __destruct()
    {
        $this->children();
        posix_kill($this->pid, 9);
        array_map(fn (int $pid) => is_running($pid) && posix_kill($pid, 9), $this->seen);
        if ($this->folder) {
            array_map(unlink(...), glob("$this->folder/*"));
            rmdir($this->folder);
        }
    }
}

/** Whether a process exists and is not a zombie. */
function is_running(int $pid): bool
{
    $stat = @file_get_contents("/proc/$pid/stat");
    return $stat && preg_match('/\) (\S)/', $stat, $m) && $m[1] !== 'Z';
}
