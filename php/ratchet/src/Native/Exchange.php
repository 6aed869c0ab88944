<?php

declare(strict_types=1);

namespace Ratchet\Native;

use GuzzleHttp\Psr7\Message;
use GuzzleHttp\Psr7\Request as PsrRequest;
use GuzzleHttp\Psr7\Response as PsrResponse;
use Psr\Http\Message\RequestInterface;
use Sprocket\Handshake;
use Sprocket\Request;
use Sprocket\Response;

/**
 * A request that the components have not answered yet: a handshake, or a plain HTTP request.
 * Collects the raw response that components write.
 */
final class Exchange
{
    /** Headers that the native server writes itself. */
    private const OWN_HEADERS = [
        'connection', 'content-length', 'keep-alive', 'sec-websocket-accept',
        'sec-websocket-extensions', 'transfer-encoding', 'upgrade',
    ];

    /** Size in bytes beyond which a response is streamed before it is complete. */
    public const WHOLE = 1 << 16;

    /** The raw response that components have written so far. */
    public string $output = '';

    /** When the components accepted the handshake. */
    public ?float $accepted = null;

    /** The answer to a plain request. */
    public ?Response $response = null;

    /** The answer to a plain request, if it is streamed. */
    public ?Streamed $streamed = null;

    /** Set once the callback that could have returned the response is over. */
    public bool $deferred = false;

    /** Set while Engine::settle() is scheduled. */
    public bool $settling = false;

    /** Set if a component closed the connection after it was accepted and before the 101. */
    public bool $closed = false;

    /** Status of the response if components close without writing one. */
    public int $fallback = 403;

    private ?string $head = null;

    public function __construct(
        public readonly Request $request,
        public readonly ?Handshake $handshake = null,
    ) {
    }

    /**
     * The head of the request as components outside of HttpServer expect it, and the body.
     */
    public function head(): string
    {
        return $this->head ??= $this->compose();
    }

    private function compose(): string
    {
        $head = $this->method() . ' ' . $this->request->target() . " HTTP/1.1\r\n";
        foreach ($this->headers() as $name => $value) {
            $head .= "$name: $value\r\n";
        }

        return "$head\r\n" . $this->request->body();
    }

    /**
     * The request for applications.
     */
    public function psr(): RequestInterface
    {
        $headers = [];
        foreach ($this->headers() as $name => $value) {
            $headers[$name] = [$value];
        }
        $uri = Message::parseRequestUri($this->request->target(), $headers);

        return new PsrRequest($this->method(), $uri, $headers, $this->request->body(), '1.1');
    }

    /**
     * GET for a handshake over HTTP/2, where it is a CONNECT (RFC 8441): applications expect that of HTTP/1.1.
     */
    private function method(): string
    {
        $method = $this->request->method();

        return $method === 'CONNECT' ? 'GET' : $method;
    }

    /**
     * Sends what components have written as the answer. False: the client no longer waits.
     */
    public function answer(): bool
    {
        [$status, $headers, $body, $phrase] = self::parse($this->output) ?? [$this->fallback, [], '', ''];
        try {
            return $this->send($status, $body === '' ? $this->reason($status, $phrase, $headers) : $body, $headers);
        } catch (\ValueError $e) {
            $message = "a component's HTTP response can't be sent: {$e->getMessage()}";
            Log::write('error', 'response.invalid', ucfirst($message), ['exception' => $e], $message);

            return $this->send(500, '', []);
        }
    }

    /**
     * Starts to stream the answer with what components have written so far. False if the head is
     * incomplete, or the request cannot be answered by a stream.
     *
     * @param callable(): void $onClose Called once, when the answer has ended or the client has left.
     */
    public function stream(callable $onClose): bool
    {
        if ($this->handshake !== null || !str_contains($this->output, "\r\n\r\n")) {
            return false;
        }
        [$head, $body] = explode("\r\n\r\n", $this->output, 2);
        [$status, $headers] = self::parse($head) ?? [0, []];
        try {
            $stream = $this->request->stream($status, $headers);
        } catch (\ValueError $e) {
            return false;
        }
        $this->output = '';
        $chunked = (bool) preg_match('~\r\ntransfer-encoding:\s*chunked\s*(\r\n|$)~i', $head);
        $length = preg_match('~\r\ncontent-length:\s*(\d+)~i', $head, $match) ? (int) $match[1] : null;
        $this->streamed = new Streamed($stream, $chunked ? null : $length, $chunked);
        $stream->onClose(static fn () => $onClose());
        $this->streamed->write($body);

        return true;
    }

    /**
     * Whether the response that components have written has reached its Content-Length.
     */
    public function isComplete(): bool
    {
        return preg_match('~^(HTTP/1\.[01] .*?\r\n\r\n)~s', $this->output, $head)
            && preg_match('~\r\ncontent-length:\s*(\d+)~i', $head[1], $length)
            && strlen($this->output) >= strlen($head[1]) + (int) $length[1];
    }

    /**
     * Whether the client still waits for an answer.
     */
    public function isPending(): bool
    {
        if ($this->streamed !== null) {
            return $this->streamed->stream->isOpen();
        }

        return $this->handshake !== null ? $this->handshake->isPending() : $this->response === null;
    }

    /**
     * The reason phrase as the body of a refusal without one: the native server writes the standard
     * phrases, and HTTP/2 has none. A plain request gets only a component's own phrase; a handshake,
     * whose refusal never has an empty body, any.
     */
    private function reason(int $status, string $phrase, array $headers): string
    {
        $standard = (new PsrResponse($status))->getReasonPhrase();
        $tells = $this->handshake !== null || strcasecmp($phrase, $standard) !== 0;

        return $tells && $status >= 400 && !isset(array_change_key_case($headers)['content-type']) ? $phrase : '';
    }

    private function send(int $status, string $body, array $headers): bool
    {
        if ($this->handshake !== null) {
            return $this->handshake->isPending() && $this->handshake->reject($status, $body, $headers);
        }
        $this->response = new Response($status, $body, $headers);

        return !$this->deferred || $this->request->respond($this->response);
    }

    /**
     * @return array<string, string> Headers with the capitals that HTTP/1.1 clients write:
     *                               applications look up such names in the result of getHeaders().
     */
    private function headers(): array
    {
        $headers = [];
        foreach ($this->request->headers() as $name => $value) {
            $headers[self::capitalise($name)] = $value;
        }

        return $headers;
    }

    private static function capitalise(string $name): string
    {
        static $known = [];
        if (count($known) > 500) {
            $known = [];
        }

        return $known[$name] ??= str_replace('Websocket', 'WebSocket', ucwords($name, '-'));
    }

    /**
     * Parses a raw HTTP/1 response.
     *
     * @return array{int, array<string, list<string>>, string, string}|null Status, headers, body and
     *                                                                   reason phrase; null if it is no response.
     */
    private static function parse(string $raw): ?array
    {
        $end = strpos($raw, "\r\n\r\n");
        $head = $end === false ? $raw : substr($raw, 0, $end);
        $body = $end === false ? '' : substr($raw, $end + 4);
        $lines = explode("\r\n", $head);
        if (!preg_match('~^HTTP/1\.[01] ([2-5]\d\d)\b *(.*)~', (string) array_shift($lines), $match)) {
            return null;
        }
        $headers = [];
        $chunked = false;
        foreach ($lines as $line) {
            if (!str_contains($line, ':')) {
                continue;
            }
            [$name, $value] = array_map('trim', explode(':', $line, 2));
            $lower = strtolower($name);
            $chunked = $chunked || ($lower === 'transfer-encoding' && strtolower($value) === 'chunked');
            if (!in_array($lower, self::OWN_HEADERS, true)) {
                $headers[$name][] = $value;
            }
        }

        return [(int) $match[1], $headers, $chunked ? self::dechunk($body) : $body, $match[2]];
    }

    /**
     * The native server frames the body itself (RFC 9112 section 7.1).
     */
    private static function dechunk(string $body): string
    {
        $out = '';
        while (preg_match('~^([0-9a-f]+)[^\r\n]*\r\n~i', $body, $match) && ($size = hexdec($match[1])) > 0) {
            $out .= substr($body, strlen($match[0]), $size);
            $body = substr($body, strlen($match[0]) + $size + 2);
        }

        return $out;
    }
}
