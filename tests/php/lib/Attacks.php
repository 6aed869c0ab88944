<?php

declare(strict_types=1);

require_once __DIR__ . '/../../phpt/inc/client.inc';
require_once __DIR__ . '/Floods.php';

/**
 * Attacks on the memory of a server, by name. An attack makes the server hold bytes for clients; a
 * flood ({@see Floods}) keeps it busy. Each attack is a step that the attacker repeats. The target is
 * servers/attacked.php.
 */
final class Attacks
{
    /** Connections that one attacker keeps open on the publish socket. */
    public const PUBLISHERS = 20;

    /** Connections that stay open until the attacker ends. */
    private array $kept = [];

    public function __construct(private readonly string $ws, private readonly string $wss, private readonly string $publishSocket)
    {
    }

    /** @return array<string, Closure(): void> A step throws if the server refuses or cuts its connection. */
    public function all(): array
    {
        return [
            'messages of connections that end' => $this->messages(...),
            'large heads of connections that end' => $this->heads(...),
            'bodies whose clients are gone' => $this->abandonedBody(...),
            'bodies in chunks of one byte' => $this->chunkedBody(...),
            'bodies over HTTP/2 in frames of one byte' => $this->http2Bodies(...),
            'WebSockets over HTTP/2' => $this->http2WebSockets(...),
            'replays that are not read' => $this->replays(...),
            'publications that are not read' => $this->publications(...),
            'fragments without an end' => $this->fragments(...),
            'heads that do not end' => $this->slowHeads(...),
            'announced lengths on the publish socket' => $this->announcements(...),
            'callbacks that take long' => $this->sleeps(...),
        ];
    }

    private function messages(): void
    {
        $client = $this->open();
        for ($i = 0; $i < 16; $i++) {
            self::push($client, Floods::frame(Client::BINARY, str_repeat("\0", 250_000)), 0.2);
        }
        self::leave($client);
    }

    private function heads(): void
    {
        self::leave($this->open(['X-Padding' => str_repeat('a', 14_500)]));
    }

    private function abandonedBody(): void
    {
        $client = $this->post('Content-Length: 900000');
        self::push($client, str_repeat('x', 900_000), 0.2);
        extension_loaded('sockets') ? $client->reset() : $client->drop();
    }

    private function chunkedBody(): void
    {
        $client = $this->post('Transfer-Encoding: chunked');
        self::push($client, str_repeat("1\r\nx\r\n", 900_000), 1.0);
        $client->drop();
    }

    private function http2Bodies(): void
    {
        // HPACK: POST, https and / from the static table, and a literal :authority (RFC 7541).
        $this->http2(fn (int $stream): string => Floods::h2(Floods::HEADERS, 4, $stream, "\x83\x87\x84\x01\x09localhost")
            . str_repeat(Floods::h2(Floods::DATA, 0, $stream, 'x'), 2_000), 20);
    }

    private function http2WebSockets(): void
    {
        $this->http2(Floods::connect(...), 50);
    }

    private function replays(): void
    {
        $client = $this->open();
        self::push($client, Floods::frame(Client::BINARY, 'fill'), 1.0);
        for ($i = 0; $i < 200; $i++) {
            self::push($client, Floods::frame(Client::BINARY, 'resume'), 1.0);
            usleep(5_000);
        }
        $client->drop();
    }

    private function publications(): void
    {
        self::push($client = $this->open(), Floods::frame(Client::BINARY, 'fan'), 1.0);
        usleep(3_000_000);
        $client->drop();
    }

    private function fragments(): void
    {
        self::push($client = $this->open(), Floods::frame(Client::BINARY, str_repeat("\0", 200_000), fin: false), 1.0);
        $this->keep($client, 10);
    }

    private function slowHeads(): void
    {
        self::push($client = new Client($this->ws), "GET / HTTP/1.1\r\nX-Padding: " . str_repeat('a', 10_000), 1.0);
        $this->keep($client, 200);
    }

    private function announcements(): void
    {
        self::push($client = new Client("unix://$this->publishSocket"), "PUBLISH binary 3 2000000000\nfan", 1.0);
        $this->keep($client, self::PUBLISHERS);
        usleep(20_000);
    }

    private function sleeps(): void
    {
        self::push($client = $this->open(), Floods::frame(Client::BINARY, 'sleep 2'), 1.0);
        usleep(3_000_000);
        $client->drop();
    }

    /** Opens a WebSocket. */
    private function open(array $headers = []): Client
    {
        $client = new Client($this->ws);
        $client->raw($client->upgradeRequest($headers));
        $status = $client->response(5.0)->status;
        if ($status !== 101) {
            $client->drop();
            throw new RuntimeException("handshake answered with $status");
        }
        return $client;
    }

    private function post(string $header): Client
    {
        return (new Client($this->ws))->raw("POST / HTTP/1.1\r\nHost: localhost\r\n$header\r\n\r\n");
    }

    /** Opens one HTTP/2 connection with $streams streams, briefly. */
    private function http2(Closure $opening, int $streams): void
    {
        $client = new Client($this->wss, null, ['ssl' => ['alpn_protocols' => 'h2', 'verify_peer' => false, 'verify_peer_name' => false]]);
        $bytes = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" . Floods::h2(Floods::SETTINGS, 0, 0, '');
        for ($i = 0; $i < $streams; $i++) {
            $bytes .= $opening(2 * $i + 1);
        }
        self::push($client, $bytes, 1.0);
        usleep(300_000);
        $client->drop();
    }

    private function keep(Client $client, int $most): void
    {
        $this->kept[] = $client;
        if (count($this->kept) > $most) {
            array_shift($this->kept)->drop();
        }
    }

    /** Sends as much as the server accepts within $seconds. */
    private static function push(Client $client, string $bytes, float $seconds): void
    {
        $end = microtime(true) + $seconds;
        for ($at = 0; $at < strlen($bytes) && microtime(true) < $end; $at += $sent) {
            $sent = @fwrite($client->stream, substr($bytes, $at, 65536));
            if ($sent === false) {
                throw new RuntimeException('the server has cut the connection');
            }
            $sent > 0 || usleep(2_000);
        }
    }

    /** Closes in an orderly way, with a short timeout. */
    private static function leave(Client $client): void
    {
        self::push($client, Floods::frame(Client::CLOSE, "\x03\xe8"), 0.2);
        stream_socket_shutdown($client->stream, STREAM_SHUT_WR);
        try {
            $client->ended(0.5);
        } finally {
            $client->drop();
        }
    }
}
