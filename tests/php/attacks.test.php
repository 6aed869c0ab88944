<?php

declare(strict_types=1);

/**
 * Runs all attacks on the memory of a server at once. Its memory stays below the sum of its options, it
 * answers throughout, and it releases the memory afterwards. ATTACK_SECONDS sets the duration.
 */

require __DIR__ . '/lib/bootstrap.php';
require __DIR__ . '/lib/Attacks.php';
require __DIR__ . '/lib/Certificates.php';

$seconds = (float) (getenv('ATTACK_SECONDS') ?: 8);

/** Floods that run at the same time as the attacks. */
const FLOODS = ['ws: empty pongs', 'ws: pings of 125 bytes', 'ws: messages of one byte', 'ws: 1 MiB in 1 KiB, compressed', 'h2: requests taken back'];
/** Bytes on top of the sum of the options, for code, stacks, and allocator buffers. */
const ALLOWANCE = 64 << 20;
/** Bytes that may remain allocated after the attacks. */
const REST = 20 << 20;
/** Time limit for a health check in seconds, on a machine with twenty busy processes. */
const PATIENCE = 10.0;

$options = [
    'maxConnections' => 40,
    'maxHandshakes' => 100,
    'maxHeaderSize' => 16 << 10,
    'maxMessageSize' => 256 << 10,
    'maxBodySize' => 1 << 20,
    'sendBufferLimit' => 256 << 10,
    'maxPendingMessages' => 16,
    'maxPendingTotal' => 16 << 20,
    'healthPath' => '/healthz',
    'compression' => ['contextTakeover' => true, 'maxContextMemory' => 4 << 20],
];
$history = ['messages' => 1000, 'bytes' => 1 << 20];

/** The memory limit that follows from the options, in bytes, according to the table in SECURITY.md. */
function sum(array $options, array $history): int
{
    $connection = $options['sendBufferLimit'] + 2 * $options['maxMessageSize'] + $history['bytes'];
    return $options['maxPendingTotal']
        + $options['maxConnections'] * $connection
        + $options['maxHandshakes'] * 2 * $options['maxHeaderSize']
        + $options['compression']['maxContextMemory']
        + $history['bytes']
        + (16 << 20); // for one I/O thread
}

/** The server, its persistent client, and the folder of its publish socket. */
final class Attacked
{
    public readonly string $ws;
    public readonly string $wss;
    public readonly string $socket;
    public readonly Child $server;
    public readonly Client $client;

    public function __construct(private readonly Certificates $certificates, array $options, array $history)
    {
        $this->socket = "$certificates->folder/publish.sock";
        $options += ['tls' => $certificates->issue('localhost'), 'publishSocket' => $this->socket];
        $this->server = Child::script(__DIR__ . '/servers/attacked.php', json_encode(['options' => $options, 'history' => $history]));
        [$this->ws, $this->wss] = explode(' ', $this->server->line('~^ws://~'));
        $this->client = (new Client($this->ws))->open();
        same('hello', $this->client->send('hello')->message(), 'echo');
    }

    /**
     * Memory that the server has allocated, in bytes. Pages of the program and its libraries do not count:
     * the kernel loads them at their first use, such as those of TLS.
     */
    public function memory(): int
    {
        preg_match('/^RssAnon:\s+(\d+)/m', file_get_contents("/proc/{$this->server->pid}/status"), $match);
        return (int) $match[1] << 10;
    }

    public function descriptors(): int
    {
        return count(scandir("/proc/{$this->server->pid}/fd")) - 2;
    }

    public function get(string $path, float $timeout): object
    {
        $client = new Client($this->ws);
        try {
            return $client->raw("GET $path HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")->response($timeout);
        } finally {
            $client->drop();
        }
    }

    public function stats(): array
    {
        return json_decode($this->get('/stats', 10.0)->body, true, flags: JSON_THROW_ON_ERROR);
    }
}

function mib(int $bytes): string
{
    return sprintf('%.1f MiB', $bytes / (1 << 20));
}

$attacked = new Attacked(new Certificates(), $options, $history);
$before = $attacked->memory();
$descriptors = $attacked->descriptors();
$peak = $most = $slowest = $echoes = 0;
$children = [];

test('the server answers during all attacks', function () use ($attacked, $seconds, &$children, &$peak, &$most, &$slowest, &$echoes): void {
    $attackers = array_keys((new Attacks('', '', ''))->all());
    foreach ([...$attackers, $attackers[0]] as $name) {
        // Real attackers run on other machines, so these yield the processor to the server.
        $children[] = [$name, new Child(['nice', '-n', '19', PHP_BINARY, __DIR__ . '/clients/attack.php',
            $attacked->ws, $attacked->wss, $attacked->socket, $name, "$seconds"])];
    }
    foreach (FLOODS as $name) {
        $children[] = [$name, new Child(['nice', '-n', '19', PHP_BINARY, __DIR__ . '/clients/flood.php',
            $attacked->ws, $attacked->wss, $name, "$seconds"])];
    }
    $end = microtime(true) + $seconds;
    $attacked->client->send('echo');
    while (microtime(true) < $end) {
        $took = seconds(fn () => same(200, $attacked->get('/healthz', PATIENCE)->status, 'status of the health check'));
        $slowest = max($slowest, $took);
        $attacked->client->take();
        if ($attacked->client->buffer !== '') {
            same('echo', $attacked->client->message(PATIENCE), 'echo');
            $attacked->client->send('echo');
            $echoes++;
        }
        $peak = max($peak, $attacked->memory());
        $most = max($most, $attacked->descriptors());
        usleep(20_000);
    }
    same('echo', $attacked->client->message(30.0), 'echo');
    printf("# a health check took %.2f s at most; %d echoes; %d descriptors at most\n", $slowest, $echoes, $most);
});

test('the server accepts at least one step of every attack', function () use (&$children): void {
    foreach ($children as [$name, $child]) {
        $said = $child->line('/^\{/', 60.0);
        echo "# $name: $said\n";
        $said = json_decode($said, true, flags: JSON_THROW_ON_ERROR);
        check(($said['taken'] ?? $said['sent']) > 0, "$name did nothing");
        same(0, $child->wait(10.0), "exit status of $name");
    }
});

test('memory stays below the sum of the options', function () use ($options, $history, $before, &$peak): void {
    printf("# %s before, %s at the peak; the options add up to %s\n", mib($before), mib($peak), mib(sum($options, $history)));
    check($peak - $before < sum($options, $history) + ALLOWANCE, mib($before) . ', then ' . mib($peak));
});

test('descriptors stay below the sum of the limits', function () use ($options, $descriptors, &$most): void {
    // Sockets that have just been closed may still be counted.
    $sum = $options['maxConnections'] + $options['maxHandshakes'] + Attacks::PUBLISHERS + 128;
    check($most - $descriptors < $sum, "$descriptors, then $most");
});

test('memory, descriptors and counters return to their previous values', function () use ($attacked, $before, $descriptors): void {
    $left = null;
    try {
        until(function () use ($attacked, $before, &$left): bool {
            return ($left = $attacked->memory() - $before) < REST;
        }, 'the memory is released', 60.0);
    } catch (RuntimeException) {
        throw new RuntimeException(mib($left) . ' remain allocated');
    }
    printf("# %s more than before\n", mib($left));
    until(fn (): bool => $attacked->descriptors() <= $descriptors, 'the sockets are closed', 60.0);
    until(fn (): bool => $attacked->stats()['connections'] === 1, 'the connections are gone', 30.0);
    $stats = $attacked->stats();
    same([0, 0, 0, 0], [$stats['publishers'], $stats['pendingMessages'], $stats['waitingBytes'], $stats['callbackErrors']],
        'publishers, pending messages, waiting bytes, callback errors');
});

test('the server serves as before, and stops', function () use ($attacked): void {
    same('still there', $attacked->client->send('still there')->message(), 'echo');
    $attacked->server->signal(15);
    same(0, $attacked->server->wait(), 'exit status');
});
