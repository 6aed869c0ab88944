<?php

declare(strict_types=1);

/**
 * A server inside an event loop: `loop.php select|revolt|react`. A timer of the loop runs every 20 ms.
 * Commands:
 *
 *   ticks    answers with the number of times that the loop's timer has run
 *   quiet    stops the loop's timer, so that only the server is left
 *   later    answers from a timer of the loop, 50 ms later
 *   after    answers from a timer of the server, 50 ms later
 *   select   waits for a new pair of streams with stream_select(), and answers "selected"
 *   stop     stops the server
 *   …        echoes anything else
 */

use Sprocket\{Connection, Server};

/** The operations that the test needs from each loop. */
interface Loop
{
    public function readable($stream, callable $call): void;

    public function repeat(float $seconds, callable $call): void;

    public function quiet(): void;

    public function once(float $seconds, callable $call): void;

    public function run(): void;

    /** Makes run() return. */
    public function stop(): void;
}

final class SelectLoop implements Loop
{
    private $stream;
    private $call;
    private array $timers = [];
    private bool $stopped = false;

    public function readable($stream, callable $call): void
    {
        [$this->stream, $this->call] = [$stream, $call];
    }

    public function repeat(float $seconds, callable $call): void
    {
        $this->timers['repeat'] = [microtime(true) + $seconds, $call, $seconds];
    }

    public function quiet(): void
    {
        unset($this->timers['repeat']);
    }

    public function once(float $seconds, callable $call): void
    {
        $this->timers[] = [microtime(true) + $seconds, $call, null];
    }

    public function stop(): void
    {
        $this->stopped = true;
    }

    public function run(): void
    {
        while (!$this->stopped) {
            $now = microtime(true);
            foreach ($this->timers as $key => [$due, $call, $period]) {
                if ($due <= $now) {
                    $this->timers[$key][0] = $now + $period;
                    if ($period === null) {
                        unset($this->timers[$key]);
                    }
                    $call();
                }
            }
            $read = [$this->stream];
            $none = null;
            $next = $this->timers ? max(0.0, min(array_column($this->timers, 0)) - microtime(true)) : 60.0;
            if (stream_select($read, $none, $none, (int) $next, (int) (fmod($next, 1) * 1e6) + 1)) {
                ($this->call)();
            }
        }
    }
}

final class RevoltLoop implements Loop
{
    private string $watcher;
    private string $timer;

    public function readable($stream, callable $call): void
    {
        $this->watcher = Revolt\EventLoop::onReadable($stream, function () use ($call): void { $call(); });
    }

    public function repeat(float $seconds, callable $call): void
    {
        $this->timer = Revolt\EventLoop::unreference(Revolt\EventLoop::repeat($seconds, function () use ($call): void { $call(); }));
    }

    public function quiet(): void
    {
        Revolt\EventLoop::cancel($this->timer);
    }

    public function once(float $seconds, callable $call): void
    {
        Revolt\EventLoop::delay($seconds, function () use ($call): void { $call(); });
    }

    public function run(): void
    {
        Revolt\EventLoop::run();
    }

    /** Without the watcher nothing keeps the loop running, so it ends. */
    public function stop(): void
    {
        Revolt\EventLoop::cancel($this->watcher);
    }
}

final class ReactLoop implements Loop
{
    private $timer;

    public function readable($stream, callable $call): void
    {
        React\EventLoop\Loop::addReadStream($stream, $call);
    }

    public function repeat(float $seconds, callable $call): void
    {
        $this->timer = React\EventLoop\Loop::addPeriodicTimer($seconds, $call);
    }

    public function quiet(): void
    {
        React\EventLoop\Loop::cancelTimer($this->timer);
    }

    public function once(float $seconds, callable $call): void
    {
        React\EventLoop\Loop::addTimer($seconds, $call);
    }

    public function run(): void
    {
        React\EventLoop\Loop::run();
    }

    public function stop(): void
    {
        React\EventLoop\Loop::stop();
    }
}

[, $kind] = $argv;
if ($kind !== 'select') {
    require $argv[2];
}
$loop = match ($kind) {
    'select' => new SelectLoop(),
    'revolt' => new RevoltLoop(),
    'react' => new ReactLoop(),
};

$server = new Server('ws://127.0.0.1:0');
$ticks = 0;
$server->onMessage(function (Connection $connection, string $payload) use ($server, $loop, &$ticks): void {
    match ($payload) {
        'ticks' => $connection->send((string) $ticks),
        'quiet' => $loop->quiet() ?? $connection->send('quiet'),
        'later' => $loop->once(0.05, fn () => $connection->send('later')),
        'after' => $server->after(0.05, fn () => $connection->send('after')),
        'select' => $connection->send(select()),
        'stop' => $server->stop(),
        default => $connection->send($payload),
    };
});

/** Calls stream_select() on new streams, while the process may have many sockets. */
function select(): string
{
    [$one, $other] = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);
    fwrite($other, 'x');
    $read = [$one];
    $none = null;
    $selected = stream_select($read, $none, $none, 5);
    return $selected === 1 && fread($one, 1) === 'x' ? 'selected' : 'stream_select() does not work any more';
}

$server->start();
$loop->readable($server->stream(), function () use ($server, $loop): void {
    $server->poll();
    if (!$server->isRunning()) {
        $loop->stop();
    }
});
$loop->repeat(0.02, function () use (&$ticks): void {
    $ticks++;
});
echo $server->addresses()[0], "\n";
$loop->run();
echo "the loop ended\n";
