<?php

declare(strict_types=1);

/**
 * Streamed responses. The argument is JSON with "listen", "tls", and "options".
 *
 *   /bytes?n=    sends n bytes, no faster than the client reads
 *   /hello       sends two pieces, the second one from a timer
 *   /open        keeps the stream open
 *   /flood       writes without regard to bufferedAmount()
 *   /cut         cuts the stream after its first piece
 *   /closes      the arguments of onClose so far, by path
 *   /stats       the counters, and the memory of the process
 */

use Sprocket\{Options, Request, Response, ResponseStream, Server, Tls};

$settings = json_decode($argv[1], true);
$options = $settings['options'] ?? [];
if (isset($settings['tls'])) {
    $options['tls'] = new Tls(...$settings['tls']);
}
$server = new Server($settings['listen'] ?? 'ws://127.0.0.1:0', new Options(...$options));

$closes = [];
$open = [];

$server->onRequest(function (Request $request) use ($server, &$closes, &$open): ?Response {
    $path = $request->path();
    if ($path === '/closes') {
        return new Response(200, json_encode($closes), ['Content-Type' => 'application/json']);
    }
    if ($path === '/stats') {
        preg_match('~VmRSS:\s+(\d+)~', file_get_contents('/proc/self/status'), $memory);
        $stats = $server->stats() + ['memory' => memory_get_usage(), 'resident' => 1024 * (int) ($memory[1] ?? 0)];
        return new Response(200, json_encode($stats), ['Content-Type' => 'application/json']);
    }
    $stream = $request->stream(200, ['Content-Type' => 'application/octet-stream', 'X-Path' => $path]);
    $stream->onClose(function (ResponseStream $s, bool $complete) use ($path, &$closes, &$open): void {
        $closes[$path][] = $complete;
        unset($open[spl_object_id($s)]);
    });
    switch ($path) {
        case '/bytes':
            $left = (int) $request->query()['n'];
            $piece = str_repeat('x', 65536);
            $more = function (ResponseStream $s) use (&$left, $piece): void {
                while ($left > 0 && $s->isOpen() && $s->bufferedAmount() < 262144) {
                    $s->write($left < 65536 ? substr($piece, 0, $left) : $piece);
                    $left -= min($left, 65536);
                }
                $left > 0 || $s->end();
            };
            $more($stream->onDrain($more));
            break;
        case '/hello':
            $stream->write('hello, ');
            $server->after(0.05, fn () => $stream->end('world'));
            break;
        case '/open':
            $open[spl_object_id($stream)] = $stream;
            $stream->write('open');
            break;
        case '/flood':
            $flood = function () use ($stream, $server, &$flood): void {
                $stream->write(str_repeat('x', 65536)) && $server->after(0.001, $flood);
            };
            $flood();
            break;
        case '/cut':
            $stream->onDrain(fn (ResponseStream $s) => $s->terminate())->write('half of it');
            break;
        default:
            $stream->end();
    }
    return null;
});

$server->start();
echo $server->addresses()[0], "\n";
$server->run();
