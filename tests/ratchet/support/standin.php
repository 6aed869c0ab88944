<?php

/**
 * The parts of ReactPHP and Evenement that the drop-in uses, for machines without them: the interfaces, a loop over
 * stream_select(), and TCP sockets. Tests run against the real one where REACT_AUTOLOAD names it.
 */

namespace React\EventLoop {
    interface TimerInterface
    {
        public function getInterval();
        public function getCallback();
        public function isPeriodic();
    }

    interface LoopInterface
    {
        public function addReadStream($stream, $listener);
        public function addWriteStream($stream, $listener);
        public function removeReadStream($stream);
        public function removeWriteStream($stream);
        public function addTimer($interval, $callback);
        public function addPeriodicTimer($interval, $callback);
        public function cancelTimer(TimerInterface $timer);
        public function futureTick($listener);
        public function addSignal($signal, $listener);
        public function removeSignal($signal, $listener);
        public function run();
        public function stop();
    }

    final class Timer implements TimerInterface
    {
        public float $due;

        public function __construct(private float $interval, private $callback, private bool $periodic)
        {
            $this->due = microtime(true) + $interval;
        }

        public function getInterval()
        {
            return $this->interval;
        }

        public function getCallback()
        {
            return $this->callback;
        }

        public function isPeriodic()
        {
            return $this->periodic;
        }
    }

    class StreamSelectLoop implements LoopInterface
    {
        private array $read = [];
        private array $write = [];
        private array $listeners = [];
        private array $timers = [];
        private array $ticks = [];
        private array $signals = [];
        private bool $running = false;

        public function __construct()
        {
            if (function_exists('pcntl_async_signals')) {
                pcntl_async_signals(true);
            }
        }

        public function addReadStream($stream, $listener)
        {
            $this->read[(int) $stream] = $stream;
            $this->listeners['r' . (int) $stream] = $listener;
        }

        public function addWriteStream($stream, $listener)
        {
            $this->write[(int) $stream] = $stream;
            $this->listeners['w' . (int) $stream] = $listener;
        }

        public function removeReadStream($stream)
        {
            unset($this->read[(int) $stream]);
        }

        public function removeWriteStream($stream)
        {
            unset($this->write[(int) $stream]);
        }

        public function addTimer($interval, $callback)
        {
            return $this->timer(new Timer($interval, $callback, false));
        }

        public function addPeriodicTimer($interval, $callback)
        {
            return $this->timer(new Timer($interval, $callback, true));
        }

        public function cancelTimer(TimerInterface $timer)
        {
            unset($this->timers[spl_object_id($timer)]);
        }

        public function futureTick($listener)
        {
            $this->ticks[] = $listener;
        }

        public function addSignal($signal, $listener)
        {
            $this->signals[$signal][] = $listener;
            pcntl_signal($signal, function ($signal) {
                foreach ($this->signals[$signal] as $listener) {
                    $listener($signal);
                }
            });
        }

        public function removeSignal($signal, $listener)
        {
            unset($this->signals[$signal]);
            pcntl_signal($signal, SIG_DFL);
        }

        public function run()
        {
            $this->running = true;
            while ($this->running && ($this->ticks || $this->timers || $this->read || $this->write || $this->signals)) {
                $ticks = $this->ticks;
                $this->ticks = [];
                foreach ($ticks as $tick) {
                    $tick();
                }
                $this->runTimers();
                if ($this->running) {
                    $this->select();
                }
            }
        }

        public function stop()
        {
            $this->running = false;
        }

        private function timer(Timer $timer): Timer
        {
            return $this->timers[spl_object_id($timer)] = $timer;
        }

        private function runTimers(): void
        {
            $now = microtime(true);
            foreach ($this->timers as $id => $timer) {
                if ($timer->due <= $now && isset($this->timers[$id])) {
                    $timer->isPeriodic() ? $timer->due = $now + $timer->getInterval() : $this->cancelTimer($timer);
                    ($timer->getCallback())($timer);
                }
            }
        }

        private function select(): void
        {
            $wait = $this->ticks ? 0.0 : 3600.0;
            foreach ($this->timers as $timer) {
                $wait = max(0.0, min($wait, $timer->due - microtime(true)));
            }
            [$read, $write, $except] = [$this->read, $this->write, null];
            if (!$read && !$write) {
                if (!$this->timers && !$this->signals) {
                    return;
                }
                usleep((int) ($wait * 1e6));

                return;
            }
            // A signal interrupted the call: its handler has run, and the loop continues.
            if (!@stream_select($read, $write, $except, (int) $wait, (int) (fmod($wait, 1) * 1e6))) {
                return;
            }
            foreach ([['r', $read, 'read'], ['w', $write, 'write']] as [$kind, $ready, $watched]) {
                foreach ($ready as $id => $stream) {
                    if (isset($this->{$watched}[$id])) {
                        ($this->listeners[$kind . $id])($stream);
                    }
                }
            }
        }
    }

    final class Loop
    {
        private static ?LoopInterface $instance = null;

        public static function get(): LoopInterface
        {
            return self::$instance ??= new StreamSelectLoop();
        }

        public static function set(LoopInterface $loop): void
        {
            self::$instance = $loop;
        }
    }

    final class Factory
    {
        public static function create()
        {
            Loop::set($loop = new StreamSelectLoop());

            return $loop;
        }
    }
}

namespace Evenement {
    class EventEmitter
    {
        private array $callbacks = [];

        public function on($event, callable $listener)
        {
            $this->callbacks[$event][] = $listener;

            return $this;
        }

        public function emit($event, array $arguments = [])
        {
            foreach ($this->callbacks[$event] ?? [] as $callback) {
                $callback(...$arguments);
            }
        }

        public function listeners($event = null)
        {
            return $event === null ? $this->callbacks : $this->callbacks[$event] ?? [];
        }

        public function removeAllListeners($event = null)
        {
            $this->callbacks = [];
        }
    }
}

namespace React\Socket {
    use Evenement\EventEmitter;
    use React\EventLoop\LoopInterface;

    interface ServerInterface
    {
        public function getAddress();
        public function pause();
        public function resume();
        public function close();
    }

    interface ConnectionInterface
    {
        public function getRemoteAddress();
        public function getLocalAddress();
    }

    final class TcpServer extends EventEmitter implements ServerInterface
    {
        private $master;
        private $loop;

        public function __construct($uri, ?LoopInterface $loop = null, array $context = [])
        {
            $this->loop = $loop;
            $uri = is_int($uri) ? "127.0.0.1:$uri" : $uri;
            $options = stream_context_create(['socket' => $context + ['backlog' => 511]]);
            $flags = STREAM_SERVER_BIND | STREAM_SERVER_LISTEN;
            $this->master = @stream_socket_server("tcp://$uri", $errno, $error, $flags, $options);
            if ($this->master === false) {
                throw new \RuntimeException("Failed to listen on $uri: $error", $errno);
            }
            stream_set_blocking($this->master, false);
            $this->resume();
        }

        public function getAddress()
        {
            return is_resource($this->master) ? 'tcp://' . stream_socket_get_name($this->master, false) : null;
        }

        public function pause()
        {
            $this->loop->removeReadStream($this->master);
        }

        public function resume()
        {
            $this->loop->addReadStream($this->master, function ($master) {
                $socket = @stream_socket_accept($master, 0, $peer);
                if ($socket !== false) {
                    $this->emit('connection', [new Connection($socket, $this->loop)]);
                }
            });
        }

        public function close()
        {
            if (is_resource($this->master)) {
                $this->pause();
                fclose($this->master);
            }
        }
    }

    final class SocketServer extends EventEmitter implements ServerInterface
    {
        private $server;

        public function __construct($uri, array $context = [], ?LoopInterface $loop = null)
        {
            $this->server = new TcpServer($uri, $loop, $context['tcp'] ?? []);
            $this->server->on('connection', function ($conn) {
                $this->emit('connection', [$conn]);
            });
        }

        public function getAddress()
        {
            return $this->server->getAddress();
        }

        public function pause()
        {
            $this->server->pause();
        }

        public function resume()
        {
            $this->server->resume();
        }

        public function close()
        {
            $this->server->close();
        }
    }

    class Connection extends EventEmitter implements ConnectionInterface
    {
        private string $output = '';
        private bool $ending = false;

        public function __construct(public $stream, private LoopInterface $loop)
        {
            stream_set_blocking($stream, false);
            $loop->addReadStream($stream, function () {
                $data = fread($this->stream, 65536);
                if ($data !== '' && $data !== false) {
                    $this->emit('data', [$data]);
                } elseif (feof($this->stream)) {
                    $this->close();
                }
            });
        }

        public function getRemoteAddress()
        {
            return 'tcp://' . stream_socket_get_name($this->stream, true);
        }

        public function getLocalAddress()
        {
            return 'tcp://' . stream_socket_get_name($this->stream, false);
        }

        public function write($data)
        {
            if ($this->ending || !is_resource($this->stream)) {
                return false;
            }
            $this->output .= $data;
            $this->loop->addWriteStream($this->stream, fn () => $this->flush());

            return true;
        }

        public function end($data = null)
        {
            if ($data !== null) {
                $this->write($data);
            }
            $this->ending = true;
            if ($this->output === '') {
                $this->close();
            }
        }

        public function close()
        {
            if (is_resource($this->stream)) {
                $this->loop->removeReadStream($this->stream);
                $this->loop->removeWriteStream($this->stream);
                fclose($this->stream);
                $this->emit('close');
            }
        }

        private function flush(): void
        {
            $written = @fwrite($this->stream, $this->output);
            $this->output = substr($this->output, (int) $written);
            if ($this->output === '') {
                $this->loop->removeWriteStream($this->stream);
                if ($this->ending) {
                    $this->close();
                }
            }
        }
    }
}
