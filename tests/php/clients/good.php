<?php

declare(strict_types=1);

/**
 * Well-behaved clients: `good.php ADDRESS COUNT RATE`. Each sends RATE messages a second, one at a time,
 * and waits for each echo. Five times a second a newcomer connects, exchanges one message, and leaves.
 *
 * Prints "open" when all clients are connected. For each line on stdin it prints one line of JSON about
 * the time since the last one: the count, p50, p99 and maximum of the round trips in milliseconds,
 * including those still outstanding; the same for newcomers; and the number of lost clients.
 */

[, $address, $count, $rate] = $argv;
$address = preg_replace('~^ws~', 'tcp', $address);
const REQUEST = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    . "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const MESSAGE = "\x81\x84\0\0\0\0good", ANSWER = "\x81\x04good";

/** One client. */
final class Good
{
    public ?float $asked;
    public string $input = '';
    public bool $open = false;

    /** @param resource $stream */
    public function __construct(public $stream, public float $next)
    {
        stream_set_blocking($stream, false);
        $this->asked = microtime(true);
        fwrite($stream, REQUEST);
    }

    public function ask(float $now): void
    {
        $this->asked = $now;
        @fwrite($this->stream, MESSAGE);
    }

    /** Reads pending input. Returns 'open', 'echo', 'end' or null. */
    public function take(): ?string
    {
        $in = @fread($this->stream, 65536);
        if ($in === false || $in === '') {
            return feof($this->stream) ? 'end' : null;
        }
        $this->input .= $in;
        if (!$this->open) {
            $at = strpos($this->input, "\r\n\r\n");
            if ($at === false) {
                return null;
            }
            $this->open = true;
            $this->input = substr($this->input, $at + 4);
            return 'open';
        }
        if (!str_contains($this->input, ANSWER)) {
            return null;
        }
        $this->input = '';
        return 'echo';
    }
}

/** @param list<float> $times In seconds. */
function summary(array $times): array
{
    sort($times);
    $at = fn (float $share): ?float => $times ? round(1000 * $times[min(count($times) - 1, (int) ($share * count($times)))], 2) : null;
    return ['count' => count($times), 'p50' => $at(0.5), 'p99' => $at(0.99), 'max' => $at(1.0)];
}

function dial(string $address, float $next): ?Good
{
    $flags = STREAM_CLIENT_CONNECT | STREAM_CLIENT_ASYNC_CONNECT;
    $stream = @stream_socket_client($address, $errno, $error, 10, $flags);
    return $stream ? new Good($stream, $next) : null;
}

$clients = [];
for ($i = 0; $i < $count; $i++) {
    $client = dial($address, 0);
    for ($deadline = microtime(true) + 10; !$client->open && microtime(true) < $deadline; usleep(200)) {
        $client->take();
    }
    $client->asked = null;
    $client->next = microtime(true) + $i / $count / (float) $rate;
    $clients[] = $client;
}
echo "open\n";
stream_set_blocking(STDIN, false);
[$times, $arrivals, $lost] = [[], [], 0];
$newcomer = null;
$arrival = microtime(true);
while (true) {
    $now = microtime(true);
    foreach ($clients as $client) {
        if ($client->asked === null && $client->next <= $now) {
            $client->next = max($client->next + 1 / (float) $rate, $now);
            $client->ask($now);
        }
    }
    if ($newcomer === null && $arrival <= $now) {
        $arrival = $now + 0.2;
        $newcomer = dial($address, 0);
        $came = $now;
    }
    $read = array_map(fn (Good $client) => $client->stream, [...$clients, ...($newcomer ? [$newcomer] : [])]);
    $read[] = STDIN;
    $none = null;
    stream_select($read, $none, $none, 0, 1000);
    $now = microtime(true);
    foreach ($clients as $i => $client) {
        $got = in_array($client->stream, $read, true) ? $client->take() : null;
        if ($got === 'echo' && $client->asked !== null) {
            $times[] = $now - $client->asked;
            $client->asked = null;
        } elseif ($got === 'end') {
            $lost++;
            unset($clients[$i]);
        }
    }
    if ($newcomer && in_array($newcomer->stream, $read, true)) {
        $got = $newcomer->take();
        if ($got === 'open') {
            $newcomer->ask($now);
        } elseif ($got !== null) {
            $arrivals[] = $got === 'echo' ? $now - $came : 10.0;
            $newcomer = null;
        }
    }
    if (in_array(STDIN, $read, true)) {
        if (fgets(STDIN) === false) {
            exit;
        }
        foreach ($clients as $client) {
            if ($client->asked !== null && $now - $client->asked > 0.05) {
                $times[] = $now - $client->asked;
            }
        }
        if ($newcomer && $now - $came > 0.05) {
            $arrivals[] = $now - $came;
        }
        echo json_encode(['echo' => summary($times), 'connect' => summary($arrivals), 'lost' => $lost]), "\n";
        [$times, $arrivals, $lost] = [[], [], 0];
    }
}
