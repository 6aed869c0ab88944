<?php
/**
 * A WebSocket client for short text messages, enough to test an example from outside.
 */

declare(strict_types=1);

final class Client
{
    /** @var resource */
    private $socket;

    public function __construct(string $address)
    {
        $this->socket = stream_socket_client("tcp://$address", $code, $error, 5)
            ?: throw new RuntimeException("$address: $error");
        stream_set_timeout($this->socket, 5);
        $key = base64_encode(random_bytes(16));
        fwrite($this->socket, "GET / HTTP/1.1\r\nHost: $address\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            . "Sec-WebSocket-Key: $key\r\nSec-WebSocket-Version: 13\r\n\r\n");
        $head = '';
        while (!str_ends_with($head, "\r\n\r\n")) {
            $head .= $this->read(1);
        }
        $accept = base64_encode(sha1($key . '258EAFA5-E914-47DA-95CA-C5AB0DC85B11', true));
        if (!str_starts_with($head, 'HTTP/1.1 101') || stripos($head, "sec-websocket-accept: $accept") === false) {
            throw new RuntimeException("no upgrade: $head");
        }
    }

    public function send(string $text): void
    {
        $mask = random_bytes(4);
        $masked = $text ^ str_repeat($mask, intdiv(strlen($text), 4) + 1);
        fwrite($this->socket, "\x81" . chr(0x80 | strlen($text)) . $mask . $masked);
    }

    public function receive(): string
    {
        $head = $this->read(2);
        if ($head[0] !== "\x81" || ord($head[1]) > 125) {
            throw new RuntimeException('not a short text frame: ' . bin2hex($head));
        }
        return $this->read(ord($head[1]));
    }

    private function read(int $length): string
    {
        $bytes = '';
        while (strlen($bytes) < $length) {
            $more = fread($this->socket, $length - strlen($bytes));
            if ($more === false || $more === '') {
                throw new RuntimeException(feof($this->socket) ? 'the server hung up' : 'no data arrived in time');
            }
            $bytes .= $more;
        }
        return $bytes;
    }
}
