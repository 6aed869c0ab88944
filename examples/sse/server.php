<?php
/**
 * Server-sent events: a page that follows what happens on the server, without a WebSocket.
 *
 *     php -d extension=sprocket examples/sse/server.php [host:port]
 *
 * Open the printed URL in several windows, or follow the events in a terminal:
 *
 *     curl -N http://127.0.0.1:8080/events
 */

declare(strict_types=1);

use Sprocket\{Options, Request, Response, ResponseStream, Server};

$server = new Server('ws://' . ($argv[1] ?? '127.0.0.1:8080'), new Options(sendBufferLimit: 65536));

/** @var SplObjectStorage<ResponseStream, null> $followers */
$followers = new SplObjectStorage();
/** The last events, for who was away: the number of each and its text. */
$recent = [];
$number = 0;

function event(int $number, string $text): string
{
    // Each line of the text is a field of its own.
    return "id: $number\ndata: " . preg_replace('~\r\n|\r|\n~', "\ndata: ", $text) . "\n\n";
}

$say = function (string $text) use ($followers, &$recent, &$number): void {
    $recent[++$number] = $text;
    unset($recent[$number - 100]);
    // The result of write() can be ignored: onClose reports clients that have left or read too slowly.
    foreach (clone $followers as $stream) {
        $stream->write(event($number, $text));
    }
};

$server->onRequest(function (Request $request) use ($followers, &$recent, $say): ?Response {
    switch ($request->method() . ' ' . $request->path()) {
        case 'GET /':
            return new Response(200, file_get_contents(__DIR__ . '/page.html'), ['Content-Type' => 'text/html; charset=utf-8']);
        case 'POST /say':
            // The first 500 characters; nothing matches if the text is not UTF-8.
            if (!preg_match('/^.{0,500}/su', $request->body(), $text)) {
                return new Response(400, 'The text must be UTF-8');
            }
            $say($text[0]);
            return new Response(204);
        case 'GET /events':
            $stream = $request->stream(200, [
                'Content-Type' => 'text/event-stream',
                'Cache-Control' => 'no-store',
                'X-Accel-Buffering' => 'no', // for nginx in front of this server
            ]);
            $followers->attach($stream);
            $stream->onClose(fn () => $followers->detach($stream));
            // The browser comes back by itself, and says what it has got last.
            $stream->write("retry: 1000\n\n");
            foreach ($recent as $n => $text) {
                if ($n > (int) ($request->header('Last-Event-ID') ?? 0)) {
                    $stream->write(event($n, $text));
                }
            }
            return null;
        default:
            return new Response(404, 'Not found');
    }
});

// A comment now and then: proxies end connections on which nothing happens, and a client that
// vanished is noticed.
$server->every(15.0, function () use ($followers): void {
    foreach (clone $followers as $stream) {
        $stream->write(":\n\n");
    }
});

// A stop would give open streams its whole grace period: end them first. Browsers come back later.
if (function_exists('pcntl_async_signals')) {
    pcntl_async_signals(true);
    $stop = function () use ($server, $followers): void {
        foreach (clone $followers as $stream) {
            $stream->end();
        }
        $server->stop();
    };
    pcntl_signal(SIGINT, $stop);
    pcntl_signal(SIGTERM, $stop);
}

$server->start();
echo 'Open http', substr($server->addresses()[0], 2), "/\n";
$server->run();
