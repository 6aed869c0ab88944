<?php
/**
 * Shared code of the PHP reference servers: the command line, a free port, and rooms.
 */
declare(strict_types=1);

/**
 * The port to listen on, for libraries that cannot report the port that the kernel chose.
 */
function free_port(int $wanted): int
{
    if ($wanted !== 0) {
        return $wanted;
    }
    $socket = stream_socket_server('tcp://127.0.0.1:0') ?: throw new RuntimeException('no port');
    $name = stream_socket_get_name($socket, false);
    fclose($socket);
    return (int) substr($name, strrpos($name, ':') + 1);
}

/**
 * The port and the mode, which are the last two arguments. `tls` is `echo` over TLS, for servers that
 * say that they can do it.
 *
 * @return array{int, string}
 */
function port_and_mode(array $argv, bool $tls = false): array
{
    [$port, $mode] = array_slice($argv, -2);
    $modes = ['echo', 'fan', 'chat', ...($tls ? ['tls'] : [])];
    if (!in_array($mode, $modes, true)) {
        fwrite(STDERR, 'the last arguments are PORT ' . implode('|', $modes) . "\n");
        exit(2);
    }
    return [(int) $port, $mode];
}

/**
 * The files with the certificate and the key for the mode `tls`.
 *
 * @return array{string, string}
 */
function certificate(): array
{
    return [(string) getenv('SPROCKET_BENCH_CERTIFICATE'), (string) getenv('SPROCKET_BENCH_KEY')];
}

/**
 * The recipients of a message, by connection number. `echo` returns the sender, `fan` all connections,
 * and `chat` the members of the sender's room, which the sender's first message names.
 *
 * @template C
 */
final class Audience
{
    /** @var array<int, C> */
    private array $all = [];
    /** @var array<string, array<int, C>> */
    private array $rooms = [];
    /** @var array<int, string> */
    private array $roomOf = [];

    public function __construct(private readonly string $mode)
    {
    }

    /** @param C $connection */
    public function open(int $id, mixed $connection): void
    {
        $this->all[$id] = $connection;
    }

    public function close(int $id): void
    {
        if (isset($this->roomOf[$id])) {
            unset($this->rooms[$this->roomOf[$id]][$id], $this->roomOf[$id]);
        }
        unset($this->all[$id]);
    }

    /** @return array<int, C> */
    public function of(int $id, string $payload): array
    {
        if ($this->mode === 'fan') {
            return $this->all;
        }
        if ($this->mode === 'chat') {
            if (isset($this->roomOf[$id])) {
                return $this->rooms[$this->roomOf[$id]];
            }
            $this->roomOf[$id] = $payload;
            $this->rooms[$payload][$id] = $this->all[$id];
        }
        return [$id => $this->all[$id]];
    }
}
