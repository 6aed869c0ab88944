<?php

declare(strict_types=1);

/**
 * Ordinary load for a long time: chats with history and presence, over TLS and with compression, plain
 * requests and HTTP/2, clients that leave gracefully or not, with one process and with workers that are
 * reloaded. Afterwards memory, descriptors, threads and counters are as after the warm-up.
 *
 * SOAK_SECONDS sets the duration, a fifth of which is the warm-up.
 */

require __DIR__ . '/../php/lib/bootstrap.php';
require __DIR__ . '/../php/lib/Certificates.php';
require __DIR__ . '/../php/lib/Floods.php';
require __DIR__ . '/../php/lib/Node.php';

$length = (float) (getenv('SOAK_SECONDS') ?: 600);

/** Bytes by which all processes of a server may grow together. */
const GROWTH = 12 << 20;
const INSECURE = ['verify_peer' => false, 'verify_peer_name' => false];

/** A server and its clients. */
final class Soaked
{
    public readonly string $ws;
    public readonly string $wss;
    public int $visits = 0;
    public int $interrupted = 0;
    /** @var array<int, array{Client, string}> Clients that stay for a while, with their rooms. */
    private array $guests = [];

    public function __construct(public readonly TestServer $server, public readonly ?Node $node = null)
    {
        preg_match('~^(ws://\S+) (wss://\S+)$~m', $server->child->output, $match);
        [, $this->ws, $this->wss] = $match;
    }

    /** One visit of each kind. A close by a reload (1001) is not an error. */
    public function visit(): void
    {
        $room = 'room.' . random_int(1, 9);
        $number = $this->visits++;
        foreach ([$this->talk(...), $this->request(...), $this->http2(...), $this->stay(...)] as $kind) {
            try {
                $kind($room, $number);
            } catch (RuntimeException $e) {
                // Either 1001, or a connection accepted by a worker that was ending.
                if ($this->node === null || !preg_match('/closes: 03e9|ended|end$|has cut|cannot connect/', $e->getMessage())) {
                    throw $e;
                }
                $this->interrupted++;
            }
        }
    }

    public function leave(): void
    {
        foreach ($this->guests as [$client]) {
            $client->drop();
        }
        $this->guests = [];
    }

    /** Memory, descriptors, threads and counters of all processes, once all clients have left. */
    public function rest(): array
    {
        $zero = ['connections', 'handshakes', 'httpSockets', 'pendingMessages', 'pendingTotal', 'waitingFrames', 'waitingBytes', 'busWaitingBytes', 'topics'];
        $stats = null;
        try {
            until(function () use ($zero, &$stats): bool {
                $client = new Client($this->ws);
                $stats = json_decode($client->open()->send('stats')->message(), true, flags: JSON_THROW_ON_ERROR);
                $client->close();
                return array_diff_key(array_filter(array_intersect_key($stats, array_flip($zero))), ['connections' => 1]) === []
                    && $stats['connections'] === 1;
            }, 'all clients have left', 60.0);
        } catch (RuntimeException $e) {
            throw new RuntimeException($e->getMessage() . ': ' . json_encode(array_intersect_key($stats ?? [], array_flip($zero))));
        }
        $sum = ['memory' => 0, 'descriptors' => 0, 'threads' => 0];
        foreach ([$this->server->child->pid, ...($this->node?->children() ?? [])] as $pid) {
            // Pss counts each shared page once over all processes.
            preg_match('/^Pss:\s+(\d+)/m', file_get_contents("/proc/$pid/smaps_rollup"), $match);
            $sum['memory'] += (int) $match[1] << 10;
            $sum['threads'] += count(scandir("/proc/$pid/task")) - 2;
            $sum['descriptors'] += count(scandir("/proc/$pid/fd")) - 2;
        }
        return $sum + ['errors' => $stats['callbackErrors'] + $stats['undelivered'] + $stats['unpublished']];
    }

    private function open(int $number): Client
    {
        $secure = $number % 3 === 0;
        $client = new Client($secure ? $this->wss : $this->ws, null, $secure ? ['ssl' => INSECURE] : []);
        return $client->open($number % 2 ? ['Sec-WebSocket-Extensions' => 'permessage-deflate'] : []);
    }

    /** Enters a room, sends messages, and leaves in one of several ways. */
    private function talk(string $room, int $number): void
    {
        $client = $this->open($number);
        self::enter($client, $room, "visitor-$number");
        // Short messages stay uncompressed. The client cannot inflate the others, and only counts them.
        $client->send("say $room short-$number");
        self::hear($client, "short-$number");
        $client->send("say $room " . str_repeat("long-$number ", 300));
        $frame = $client->read() ?? throw new RuntimeException('the connection ended');
        check($frame->opcode !== Client::CLOSE, 'the server closes: ' . bin2hex($frame->payload));
        match ($number % 4) {
            0 => $client->drop(),
            1 => $client->close(),
            2 => $client->sendClose(4000)->drop(),
            3 => $client->send("leave $room")->close(),
        };
    }

    /** Keeps twenty clients connected, and replaces the oldest with each new one. */
    private function stay(string $room, int $number): void
    {
        $client = $this->open($number);
        self::enter($client, $room, "guest-$number");
        $this->guests[] = [$client, $room];
        if (count($this->guests) > 20) {
            [$client] = array_shift($this->guests);
            $number % 2 ? $client->drop() : $client->close();
        }
        foreach ($this->guests as $i => [$client]) {
            $client->take();
            $client->buffer = '';
            if ($client->eof) {
                unset($this->guests[$i]);
            }
        }
    }

    private function request(string $room, int $number): void
    {
        $client = new Client($this->ws);
        $body = str_repeat("$number ", 1000);
        $head = fn (string $line): string => "$line HTTP/1.1\r\nHost: localhost\r\n";
        $client->raw($head('POST /') . 'Content-Length: ' . strlen($body) . "\r\n\r\n$body");
        same(strrev($body), $client->response()->body, 'body');
        $client->raw($head('GET /index.html') . "\r\n");
        same(200, $client->response()->status, 'status');
        $client->drop();
    }

    /** Sends a plain request over HTTP/2. */
    private function http2(string $room, int $number): void
    {
        $client = new Client($this->wss, null, ['ssl' => INSECURE + ['alpn_protocols' => 'h2']]);
        $client->raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" . Floods::h2(Floods::SETTINGS, 0, 0, '')
            // HPACK: GET, https and / from the static table, and a literal :authority (RFC 7541).
            . Floods::h2(Floods::HEADERS, 5, 1, "\x82\x87\x84\x01\x09localhost"));
        $ended = false;
        $client->wait(function () use ($client, &$ended): bool {
            while (strlen($client->buffer) >= 9) {
                $length = unpack('N', "\0" . $client->buffer)[1];
                if (strlen($client->buffer) < 9 + $length) {
                    break;
                }
                [$type, $flags] = [ord($client->buffer[3]), ord($client->buffer[4])];
                $ended = $ended || $type <= Floods::HEADERS && ($flags & 1) === 1;
                $client->buffer = substr($client->buffer, 9 + $length);
            }
            return $ended || $client->eof;
        }, 'the response over HTTP/2');
        check($ended, 'the connection ended');
        $client->drop();
    }

    private static function enter(Client $client, string $room, string $member): void
    {
        self::hear($client->send("enter $room $member"), 'entered');
    }

    private static function hear(Client $client, string $text): void
    {
        for ($i = 0; $i < 1000; $i++) {
            if ($client->message() === $text) {
                return;
            }
        }
        throw new RuntimeException("'$text' does not arrive");
    }
}

$certificates = new Certificates();
file_put_contents("$certificates->folder/index.html", str_repeat('<p>page</p>', 100));
$folder = "$certificates->folder/files";
mkdir($folder);
rename("$certificates->folder/index.html", "$folder/index.html");
$settings = ['listen' => ['ws://127.0.0.1:0', 'wss://127.0.0.1:0'], 'tls' => $certificates->issue('localhost'), 'folder' => $folder];
$code = __DIR__ . '/soaked.php';

$soak = function (Soaked $soaked, float $seconds): void {
    $end = microtime(true) + $seconds;
    $reload = 0.0;
    while (microtime(true) < $end) {
        $soaked->visit();
        if ($soaked->node !== null && microtime(true) > $reload) {
            $soaked->node->reload();
            foreach ([1, 2] as $_) { // in either order
                $soaked->node->line('/^worker \d stops/', 60.0);
            }
            $reload = microtime(true) + 5.0;
        }
    }
    $soaked->leave();
};

foreach (['one process' => false, 'workers and reloads' => true] as $name => $workers) {
    test("$name: all resources are as before after " . round($length / 2) . ' s of load', function () use ($name, $workers, $soak, $length, $settings, $code): void {
        if ($workers) {
            $node = Node::start(code: 'require ' . var_export($code, true) . ';', more: $settings);
            $soaked = new Soaked($node->server, $node);
        } else {
            $json = json_encode(['options' => (object) [], 'code' => $code] + $settings);
            $soaked = new Soaked(TestServer::script(__DIR__ . '/../php/servers/workers.php', $json));
        }
        $soak($soaked, $length / 10);
        $before = $soaked->rest();
        $soak($soaked, $length * 4 / 10);
        // Freed memory returns, and file-reading threads end, within seconds.
        try {
            until(function () use ($soaked, $before, &$after): bool {
                $after = $soaked->rest();
                return $after['memory'] - $before['memory'] < GROWTH && $after['descriptors'] <= $before['descriptors']
                    && $after['threads'] <= $before['threads'] && $after['errors'] === 0;
            }, 'the state is as before', 60.0);
        } catch (RuntimeException $e) {
            throw new RuntimeException($e->getMessage() . ': ' . json_encode([$before, $after]));
        }
        printf("# %s: %d visits, %d interrupted; %s before, %s after\n", $name, $soaked->visits, $soaked->interrupted, json_encode($before), json_encode($after));
        same(0, $soaked->server->stop(), 'exit status');
    });
}
