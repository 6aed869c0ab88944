<?php

declare(strict_types=1);

/** A Redis or NATS server on 127.0.0.1 without persistence. The destructor kills it and removes its files. */
final class Broker
{
    public readonly int $port;
    private readonly string $folder;

    /** @var resource|null */
    private $process = null;

    /** @param list<string> $extra Further arguments. */
    private function __construct(private readonly string $program, private readonly array $extra)
    {
        $this->folder = sys_get_temp_dir() . '/sprocket-broker-' . bin2hex(random_bytes(6));
        mkdir($this->folder, 0700);
        // Another process may take the port in between.
        for ($try = 0; $try < 5; $try++) {
            $free = stream_socket_server('tcp://127.0.0.1:0');
            $port = (int) substr(strrchr(stream_socket_get_name($free, false), ':'), 1);
            fclose($free);
            if ($this->up($port)) {
                $this->port = $port;
                return;
            }
        }
        throw new RuntimeException("$program does not start: " . file_get_contents("$this->folder/log"));
    }

    /** Null if the program is not installed. */
    public static function redis(string ...$extra): ?self
    {
        $program = self::program('redis-server');
        return $program === null ? null : new self($program, $extra);
    }

    public static function nats(string ...$extra): ?self
    {
        $program = self::program('nats-server');
        return $program === null ? null : new self($program, $extra);
    }

    public function __destruct()
    {
        $this->kill();
        array_map(unlink(...), glob("$this->folder/*"));
        rmdir($this->folder);
    }

    /** Starts the program; also restarts it after kill(). */
    public function up(?int $port = null): bool
    {
        $port ??= $this->port;
        $arguments = str_ends_with($this->program, 'redis-server')
            ? ['--bind', '127.0.0.1', '--port', "$port", '--save', '', '--appendonly', 'no', '--dir', $this->folder]
            : ['-a', '127.0.0.1', '-p', "$port"];
        $log = ['file', "$this->folder/log", 'w'];
        $this->process = proc_open([$this->program, ...$arguments, ...$this->extra], [['file', '/dev/null', 'r'], $log, $log], $pipes);
        $deadline = microtime(true) + 30;
        while (microtime(true) < $deadline) {
            if (!proc_get_status($this->process)['running']) {
                break;
            }
            $socket = @stream_socket_client("tcp://127.0.0.1:$port", $errno, $error, 1);
            if ($socket !== false) {
                return true;
            }
            usleep(10_000);
        }
        $this->kill();
        return false;
    }

    /** Sends SIGSTOP, and waits until all threads have stopped. */
    public function stopped(): void
    {
        $this->signal(19);
        $pid = $this->pid();
        until(function () use ($pid): bool {
            foreach (glob("/proc/$pid/task/*/stat") as $file) {
                if (!preg_match('/\) [tTZ] /', (string) @file_get_contents($file))) {
                    return false;
                }
            }
            return true;
        }, "$this->program stops");
    }

    public function pid(): int
    {
        return proc_get_status($this->process)['pid'];
    }

    public function signal(int $signal): void
    {
        proc_terminate($this->process, $signal);
    }

    /** Kills the program with SIGKILL. */
    public function kill(): void
    {
        if ($this->process !== null) {
            proc_terminate($this->process, 9);
            proc_close($this->process);
            $this->process = null;
        }
    }

    /** Opens a plain connection to the broker. */
    public function dial(): Line
    {
        return new Line($this->port);
    }

    private static function program(string $name): ?string
    {
        foreach (explode(':', getenv('PATH') . ':/usr/sbin:/usr/local/sbin') as $folder) {
            if (is_executable("$folder/$name")) {
                return "$folder/$name";
            }
        }
        return null;
    }
}

/** A plain TCP connection to a broker, for tests that speak its protocol themselves. */
final class Line
{
    /** @var resource */
    private $stream;

    public function __construct(int $port)
    {
        $this->stream = stream_socket_client("tcp://127.0.0.1:$port", $errno, $error, 10);
        stream_set_timeout($this->stream, 30);
    }

    public function say(string $bytes): self
    {
        fwrite($this->stream, $bytes);
        return $this;
    }

    /** The next line, without its line break. */
    public function line(): string
    {
        $line = fgets($this->stream);
        return $line === false ? throw new RuntimeException('the broker sends nothing') : rtrim($line, "\r\n");
    }

    /** Reads lines up to and including $line. */
    public function until(string $line): self
    {
        while ($this->line() !== $line);
        return $this;
    }
}
