<?php

/**
 * A WebSocket client with control over each byte, so that it can violate the protocol.
 */
final class Client
{
    public $socket;
    public string $buffer = '';

    public function __construct(int $port, string $host = '127.0.0.1')
    {
        // A context of its own, so that options set later do not affect other clients.
        $context = stream_context_create();
        $this->socket = @stream_socket_client("tcp://$host:$port", $errno, $error, 5, STREAM_CLIENT_CONNECT, $context);
        if ($this->socket === false) {
            throw new Failed("can't connect to $host:$port: $error");
        }
    }

    /** Connects and does the handshake; fails unless it is accepted. */
    public static function open(int $port, string $path = '/', array $headers = []): self
    {
        $client = new self($port);
        $client->write(self::request($path, $headers));
        $head = $client->head();
        if (!str_starts_with($head, 'HTTP/1.1 101')) {
            throw new Failed("handshake refused: $head");
        }

        return $client;
    }

    public static function request(string $path = '/', array $headers = []): string
    {
        $headers += [
            'Host' => 'localhost',
            'Upgrade' => 'websocket',
            'Connection' => 'Upgrade',
            'Sec-WebSocket-Key' => 'dGhlIHNhbXBsZSBub25jZQ==',
            'Sec-WebSocket-Version' => '13',
        ];
        $request = "GET $path HTTP/1.1\r\n";
        foreach ($headers as $name => $value) {
            $request .= $value === null ? '' : "$name: $value\r\n";
        }

        return "$request\r\n";
    }

    public static function frame(int $opcode, string $payload, bool $final = true, bool $mask = true): string
    {
        $length = strlen($payload);
        $head = chr(($final ? 0x80 : 0) | $opcode);
        $bit = $mask ? 0x80 : 0;
        $head .= match (true) {
            $length < 126 => chr($bit | $length),
            $length < 65536 => chr($bit | 126) . pack('n', $length),
            default => chr($bit | 127) . pack('J', $length),
        };
        if (!$mask) {
            return $head . $payload;
        }
        $key = "\x12\x34\x56\x78";

        return $head . $key . ($payload ^ substr(str_repeat($key, intdiv($length, 4) + 1), 0, $length));
    }

    public function write(string $bytes): void
    {
        while ($bytes !== '') {
            $written = @fwrite($this->socket, $bytes);
            if (!$written) {
                throw new Failed('the socket takes no more');
            }
            $bytes = substr($bytes, $written);
        }
    }

    public function text(string $payload): void
    {
        $this->write(self::frame(1, $payload));
    }

    /** The head of the response; what follows stays in the buffer. */
    public function head(float $seconds = DEADLINE): string
    {
        $end = microtime(true) + $seconds;
        while (($at = strpos($this->buffer, "\r\n\r\n")) === false) {
            if (!$this->fill($end)) {
                $head = $this->buffer;
                $this->buffer = '';

                return $head;
            }
        }
        $head = substr($this->buffer, 0, $at);
        $this->buffer = substr($this->buffer, $at + 4);

        return $head;
    }

    /** The whole response of a server that closes, or says how long its body is. */
    public function response(float $seconds = DEADLINE): array
    {
        $head = $this->head($seconds);
        $end = microtime(true) + $seconds;
        $length = preg_match('/^content-length: *(\d+)/mi', $head, $match) ? (int) $match[1] : PHP_INT_MAX;
        while (strlen($this->buffer) < $length && $this->fill($end)) {
        }
        preg_match('~^HTTP/1.1 (\d+)~', $head, $status);

        return [(int) ($status[1] ?? 0), $head, $this->buffer];
    }

    /** The next frame as [opcode, payload, final], or null at the end of the stream. */
    public function next(float $seconds = DEADLINE): ?array
    {
        $end = microtime(true) + $seconds;
        while (true) {
            if (strlen($this->buffer) >= 2) {
                $length = ord($this->buffer[1]) & 0x7f;
                $offset = 2;
                if ($length === 126 && strlen($this->buffer) >= 4) {
                    $length = unpack('n', $this->buffer, 2)[1];
                    $offset = 4;
                } elseif ($length === 127 && strlen($this->buffer) >= 10) {
                    $length = unpack('J', $this->buffer, 2)[1];
                    $offset = 10;
                }
                if (($offset > 2 || $length < 126) && strlen($this->buffer) >= $offset + $length) {
                    $frame = [ord($this->buffer[0]) & 15, substr($this->buffer, $offset, $length), ord($this->buffer[0]) > 127];
                    $this->buffer = substr($this->buffer, $offset + $length);

                    return $frame;
                }
            }
            if (!$this->fill($end)) {
                if (feof($this->socket)) {
                    return null;
                }
                throw new Failed('no frame within ' . $seconds . ' s');
            }
        }
    }

    /** The payload of the next frame, which must be a text. */
    public function nextText(float $seconds = DEADLINE): string
    {
        $frame = $this->next($seconds);
        if ($frame === null || $frame[0] !== 1) {
            throw new Failed('expected a text, got ' . show($frame));
        }

        return $frame[1];
    }

    /** Whether the server ends the stream within some seconds; what it sends before is skipped. */
    public function endsWithin(float $seconds): bool
    {
        $end = microtime(true) + $seconds;
        while ($this->fill($end)) {
        }

        return feof($this->socket);
    }

    /** Sends a reset instead of an end. */
    public function reset(): void
    {
        $socket = socket_import_stream($this->socket);
        socket_set_option($socket, SOL_SOCKET, SO_LINGER, ['l_onoff' => 1, 'l_linger' => 0]);
        socket_close($socket);
    }

    public function close(): void
    {
        if (is_resource($this->socket)) {
            fclose($this->socket);
        }
    }

    private function fill(float $end): bool
    {
        $left = $end - microtime(true);
        if ($left <= 0) {
            return false;
        }
        // Not stream_select(): it refuses descriptors above 1023.
        stream_set_timeout($this->socket, (int) $left, (int) (fmod($left, 1) * 1e6));
        $chunk = @fread($this->socket, 65536);
        if ($chunk === '' || $chunk === false) {
            return false;
        }
        $this->buffer .= $chunk;

        return true;
    }
}
