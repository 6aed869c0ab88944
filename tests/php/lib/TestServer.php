<?php

declare(strict_types=1);

/** A server script in a separate process. */
final class TestServer
{
    public readonly string $address;

    private function __construct(public readonly Child $child, string $ready, float $timeout = 20.0)
    {
        $this->address = preg_replace('/^.*?((wss?|http|unix):[^\s,]*[^\s,.]).*$/', '$1', $child->line($ready, $timeout));
    }

    /** Starts servers/echo.php with options in the notation of Sprocket\Options. */
    public static function start(array $options = [], array $more = []): self
    {
        $settings = json_encode(['options' => (object) $options] + $more, JSON_PRESERVE_ZERO_FRACTION);
        return self::script(__DIR__ . '/../servers/echo.php', $settings);
    }

    /** Starts a script that prints its address. */
    public static function script(string $file, string ...$arguments): self
    {
        return new self(Child::script($file, ...$arguments), '~(wss?|http|unix)://~');
    }

    /** Starts a command in which `@php@` stands for PHP with the extension. */
    public static function command(array $command, array $environment = [], float $timeout = 20.0): self
    {
        return new self(new Child($command, $environment), '~(wss?|http|unix)://~', $timeout);
    }

    /** Opens a connection without a handshake; see Client for the context. */
    public function connect(array $context = []): Client
    {
        return new Client($this->address, null, $context);
    }

    /** Opens a connection with a handshake. */
    public function open(array $headers = [], string $target = '/'): Client
    {
        return $this->connect()->open($headers, $target);
    }

    /** Server::stats(), and the process's connection count, descriptors, threads and memory. */
    public function stats(): array
    {
        $host = preg_replace('~^\w+://~', '', $this->address);
        // With a short handshakeTimeout on a busy machine, a request may time out with 504.
        for ($tries = 0; $tries < 10 && ($response->status ?? 504) === 504; $tries++) {
            $response = $this->connect()
                ->raw("GET /stats HTTP/1.1\r\nHost: $host\r\nConnection: close\r\n\r\n")
                ->response();
        }
        if ($response->status !== 200) {
            throw new RuntimeException("stats answered with $response->status");
        }
        return json_decode($response->body, true, flags: JSON_THROW_ON_ERROR);
    }

    /** Waits until a counter has a value. */
    public function counts(string $name, int $expected, float $timeout = 10.0): void
    {
        $value = null;
        try {
            until(function () use ($name, $expected, &$value): bool {
                try {
                    return ($value = $this->stats()[$name]) === $expected;
                } catch (RuntimeException) {
                    return false; // PHP may be busy
                }
            }, $name, $timeout);
        } catch (RuntimeException) {
            throw new RuntimeException("stats()['$name'] is $value, not $expected");
        }
    }

    /** Checks that the server still serves. */
    public function lives(): void
    {
        $client = $this->open();
        same('still there', $client->send('still there')->message(), 'echo');
        $client->drop();
    }

    /**
     * Makes a callback block until {@see release()}, so that PHP is busy regardless of the machine's
     * speed. Works with echo.php and topics.php.
     */
    public function hold(Client $client): Client
    {
        $client->send('hold');
        $this->child->line('/^held$/');
        return $client;
    }

    /** Ends the blocking callback of {@see hold()}. */
    public function release(): void
    {
        fwrite($this->child->stdin, "\n");
    }

    /** Open descriptors of the process, counted from outside, so that the server need not answer a request. */
    public function descriptors(): int
    {
        return count(scandir("/proc/{$this->child->pid}/fd")) - 2;
    }

    /** The line that the server printed in onClose: "code reason". */
    public function closeLine(float $timeout = 10.0): string
    {
        return preg_replace('/^close \d+ /', '', $this->child->line('/^close /', $timeout));
    }

    /** Ends the server as an operator does, and returns the exit status. */
    public function stop(int $signal = 15): int
    {
        $this->signal($signal);
        return $this->child->wait();
    }

    /**
     * Sends a signal once the process handles it. run() installs the handlers, but the script already
     * serves after start().
     */
    public function signal(int $signal): void
    {
        if ($signal !== 9 && is_dir('/proc/self')) {
            until(function () use ($signal): bool {
                $status = @file_get_contents("/proc/{$this->child->pid}/status");
                preg_match_all('/^Sig(?:Cgt|Ign):\s+(\w+)$/m', (string) $status, $masks);
                return array_filter($masks[1], fn (string $mask): bool => (hexdec(substr($mask, -8)) >> $signal - 1 & 1) === 1) !== [];
            }, "signal $signal is handled");
        }
        $this->child->signal($signal);
    }
}
