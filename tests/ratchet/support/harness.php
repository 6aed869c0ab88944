<?php

/**
 * Runs the checks of a test program and the server scripts that they connect to.
 */

require __DIR__ . '/Client.php';

const DEADLINE = 10.0;

final class Failed extends Exception
{
}

/** A server script in a process of its own. */
final class ServerProcess
{
    public readonly int $port;
    public readonly int $pid;
    public array $events = [];
    private $process;
    private array $pipes = [];
    private string $buffer = '';
    public string $stderr = '';
    public ?int $exitCode = null;

    public function __construct(string $script, array $args = [], array $ini = [])
    {
        $command = [getenv('PHP') ?: PHP_BINARY];
        foreach ($ini as $name => $value) {
            array_push($command, '-d', "$name=$value");
        }
        if (getenv('SPROCKET_SO') && !getenv('RATCHET_AUTOLOAD')) {
            array_push($command, '-d', 'extension=' . getenv('SPROCKET_SO'));
        }
        array_push($command, __DIR__ . "/../servers/$script.php", ...$args);
        $this->process = proc_open($command, [1 => ['pipe', 'w'], 2 => ['pipe', 'w']], $this->pipes);
        $this->pid = proc_get_status($this->process)['pid'];
        stream_set_blocking($this->pipes[1], false);
        stream_set_blocking($this->pipes[2], false);
        $ready = $this->wait('ready');
        $this->port = $ready[1] ?? 0;
    }

    /** The next event of a name, taken out of those that are waiting. */
    public function wait(string $name, float $seconds = DEADLINE): array
    {
        $end = microtime(true) + $seconds;
        do {
            foreach ($this->events as $i => $event) {
                if ($event[0] === $name) {
                    array_splice($this->events, $i, 1);

                    return $event;
                }
            }
        } while ($this->read($end));
        $this->isRunning();
        throw new Failed("no event '$name' within $seconds s; had " . json_encode($this->events) . "; stderr: {$this->stderr}");
    }

    /** The number of events of a name, those of the next moment included. */
    public function count(string $name, float $seconds = 0.3): int
    {
        $end = microtime(true) + $seconds;
        while ($this->read($end)) {
        }

        return count(array_filter($this->events, fn ($event) => $event[0] === $name));
    }

    public function isRunning(): bool
    {
        $status = proc_get_status($this->process);
        if (!$status['running'] && $status['exitcode'] >= 0) {
            $this->exitCode = $status['exitcode'];
        }
        $this->stderr .= stream_get_contents($this->pipes[2]);

        return $status['running'];
    }

    public function diesWithin(float $seconds): bool
    {
        $end = microtime(true) + $seconds;
        while ($this->isRunning() && microtime(true) < $end) {
            usleep(10000);
        }

        return !$this->isRunning();
    }

    /** The most memory that the process has had, in bytes. */
    public function peak(): int
    {
        preg_match('~VmHWM:\s+(\d+)~', file_get_contents("/proc/$this->pid/status"), $match);

        return (int) $match[1] << 10;
    }

    public function signal(int $signal): void
    {
        posix_kill($this->pid, $signal);
    }

    public function __destruct()
    {
        if (is_resource($this->process)) {
            proc_terminate($this->process, SIGKILL);
            proc_close($this->process);
        }
    }

    private function read(float $end): bool
    {
        $left = $end - microtime(true);
        if ($left <= 0) {
            return false;
        }
        [$read, $write, $except] = [[$this->pipes[1]], null, null];
        if (@stream_select($read, $write, $except, (int) $left, (int) (fmod($left, 1) * 1e6))) {
            $chunk = fread($this->pipes[1], 65536);
            if (($chunk === '' || $chunk === false) && feof($this->pipes[1])) {
                return false;
            }
            $this->buffer .= $chunk;
            while (($eol = strpos($this->buffer, "\n")) !== false) {
                $line = substr($this->buffer, 0, $eol);
                $this->buffer = substr($this->buffer, $eol + 1);
                $event = json_decode($line, true);
                $this->events[] = is_array($event) ? $event : ['output', $line];
            }
        }
        $this->stderr .= stream_get_contents($this->pipes[2]);

        return true;
    }
}

$failures = 0;

/** Whether the tests run against the original Ratchet. */
function original(): bool
{
    return (bool) getenv('RATCHET_AUTOLOAD');
}

function check(string $name, callable $body): void
{
    global $failures;
    try {
        $body();
        echo "ok - $name\n";
    } catch (Throwable $e) {
        $failures++;
        $why = $e instanceof Failed ? $e->getMessage() : get_class($e) . ': ' . $e->getMessage();
        echo "not ok - $name - " . strtr($why, "\n", ' ') . ' (line ' . lineOf($e) . ")\n";
    }
}

function skip(string $name, string $reason): void
{
    echo "skip - $name - $reason\n";
}

function same(mixed $expected, mixed $actual, string $what = 'value'): void
{
    if ($expected !== $actual) {
        throw new Failed("$what: expected " . show($expected) . ', got ' . show($actual));
    }
}

function that(bool $condition, string $what): void
{
    if (!$condition) {
        throw new Failed("not true: $what");
    }
}

function show(mixed $value): string
{
    $text = json_encode($value, JSON_INVALID_UTF8_SUBSTITUTE | JSON_UNESCAPED_SLASHES);

    return strlen($text) > 300 ? substr($text, 0, 300) . '…' : $text;
}

function lineOf(Throwable $e): int
{
    foreach ([['file' => $e->getFile(), 'line' => $e->getLine()], ...$e->getTrace()] as $frame) {
        if (str_ends_with($frame['file'] ?? '', '.test.php')) {
            return $frame['line'];
        }
    }

    return $e->getLine();
}

function finish(): never
{
    global $failures;
    exit($failures > 0 ? 1 : 0);
}

/** Ends a test program, with a message, if a library that it needs is missing. */
function needs(string $program, array $packages = []): void
{
    if (original()) {
        return;
    }
    if (!getenv('SPROCKET_SO') && !extension_loaded('sprocket')) {
        skip($program, 'SPROCKET_SO does not name the extension');
        exit(0);
    }
    foreach (['guzzlehttp-psr7' => 'GuzzleHttp/Psr7', ...$packages] as $debian => $path) {
        if (!getenv('PSR_AUTOLOAD') && !stream_resolve_include_path("$path/autoload.php")) {
            skip($program, "$path is not installed (Debian: php-$debian)");
            exit(0);
        }
    }
}
