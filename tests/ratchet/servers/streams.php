<?php

/**
 * A component for plain HTTP that answers in pieces:
 *
 *   /large?n=     that many bytes, no faster than the client reads
 *   /burst?n=     that many bytes at once, and then close()
 *   /chunked      with chunks of its own, split in awkward places
 *   /length       announces a length and does not close
 *   /events       server-sent events
 *   /flood        writes regardless of what waits
 */

require __DIR__ . '/../support/autoload.php';

use Psr\Http\Message\RequestInterface;
use Ratchet\ConnectionInterface;
use Ratchet\Http\HttpServer;
use Ratchet\Http\HttpServerInterface;
use Ratchet\Native\Backpressure;

$loop = loop();

$app = new class($loop) implements HttpServerInterface {
    private array $paths = [];

    public function __construct(private $loop)
    {
    }

    public function onOpen(ConnectionInterface $conn, ?RequestInterface $request = null)
    {
        $this->paths[$conn->resourceId] = $path = $request->getUri()->getPath();
        parse_str($request->getUri()->getQuery(), $query);
        $size = (int) ($query['n'] ?? 0);
        $piece = str_repeat('x', 1 << 16);
        $head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Path: $path\r\n";
        match ($path) {
            '/large' => $this->large($conn->send("$head\r\n"), $size, $piece),
            '/burst' => $this->burst($conn->send("$head\r\n"), $size, $piece),
            '/chunked' => $this->slowly($conn, str_split("{$head}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n", 5)),
            '/length' => $this->slowly($conn, ["{$head}Content-Length: 6\r\n\r\n", 'abc', 'defghi']),
            '/events' => $this->slowly($conn, ["{$head}\r\n", "data: 1\n\n", "data: 2\n\n"]),
            '/flood' => $this->flood($conn->send("$head\r\n"), $piece),
        };
    }

    private function large(ConnectionInterface $conn, int $left, string $piece): void
    {
        while (Backpressure::bufferedAmount($conn) < 1 << 20) {
            if ($left <= 0 || !isset($this->paths[$conn->resourceId])) {
                $conn->close();

                return;
            }
            $conn->send($left < strlen($piece) ? substr($piece, 0, $left) : $piece);
            $left -= strlen($piece);
        }
        $this->loop->addTimer(0.005, fn () => $this->large($conn, $left, $piece));
    }

    private function burst(ConnectionInterface $conn, int $size, string $piece): void
    {
        for ($left = $size; $left > 0; $left -= strlen($piece)) {
            $conn->send($left < strlen($piece) ? substr($piece, 0, $left) : $piece);
        }
        $conn->close();
    }

    private function slowly(ConnectionInterface $conn, array $pieces): void
    {
        if ($pieces !== []) {
            $conn->send(array_shift($pieces));
            $this->loop->addTimer(0.01, fn () => $this->slowly($conn, $pieces));
        }
    }

    private function flood(ConnectionInterface $conn, string $piece): void
    {
        if (isset($this->paths[$conn->resourceId])) {
            $conn->send($piece);
            // Slowly enough that the head is sent before the response is cut.
            $this->loop->addTimer(0.001, fn () => $this->flood($conn, $piece));
        }
    }

    public function onMessage(ConnectionInterface $from, $msg)
    {
    }

    public function onClose(ConnectionInterface $conn)
    {
        tell('close', $this->paths[$conn->resourceId], memory_get_peak_usage());
        unset($this->paths[$conn->resourceId]);
    }

    public function onError(ConnectionInterface $conn, Exception $e)
    {
        tell('error', $e->getMessage());
        $conn->close();
    }
};

$socket = listen('127.0.0.1:0', $loop);
$server = new Ratchet\Server\IoServer(new HttpServer($app), $socket, $loop);
ready($socket);
$server->run();
