--TEST--
Each refused handshake is logged with its reason and the deciding option, and passed to onRefused
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/logger.inc';

use Sprocket\{Handshake, Options, Request, Server};

/** Prints the log lines of one handshake with a server of its own, and the calls of onRefused. */
function refused(array $options, array $headers = [], string $method = 'GET', ?Closure $onUpgrade = null, int $open = 0): void
{
    $log = new Lines();
    $refused = [];
    $server = new Server('ws://127.0.0.1:0', new Options(...$options, logger: $log));
    $server->onRefused(function (Request $request, int $status, string $reason) use (&$refused): void {
        $refused[] = "{$request->method()} {$request->target()} {$request->scheme()} $status: $reason";
    });
    $server->onUpgrade($onUpgrade);
    $server->start();
    for ($clients = []; count($clients) < $open;) {
        $clients[] = Client::of($server)->open();
    }
    $client = Client::of($server);
    $status = $client->raw($client->upgradeRequest($headers, '/chat?token=secret', $method))->response()->status;
    $event = fn (array $line): bool => str_starts_with($line[2]['event'], 'handshake.');
    pump($server, fn (): bool => array_filter($log->lines, $event) !== []);
    foreach (array_filter($log->lines, $event) as $line) {
        echo $line[2]['event'], ' ', show_line($line), "\n";
        echo $line[2]['status'] === $status && $line[2]['remoteAddress'] === '127.0.0.1' && $line[2]['remotePort'] > 0 ? '' : "wrong peer or status\n";
        echo strpos(json_encode($line), 'secret') ? "the query is shown\n" : '';
    }
    echo $refused ? '-> ' . implode(', ', $refused) : '-> onRefused not called', "\n";
}

refused([], ['Origin' => 'https://evil.example']);
refused(['maxConnections' => 1], open: 1);
refused(['maxConnectionsPerIp' => 1], open: 1);
refused(['subprotocols' => ['a'], 'strictSubprotocols' => true], ['Sec-WebSocket-Protocol' => 'b']);
refused([], ['Sec-WebSocket-Key' => 'short']);
refused([], method: 'POST');
refused(['handshakeTimeout' => 0.2], onUpgrade: function (Handshake $h): void { $GLOBALS['kept'] = $h; });
refused([], onUpgrade: fn (Handshake $h) => $h->reject(401, 'Sign in'));
--EXPECT--
handshake.refused warning: Handshake from 127.0.0.1 refused with 403: The option origins does not admit the origin of this request: https://evil.example [status=403 method=GET path=/chat origin=https://evil.example option=origins]
-> GET /chat?token=secret ws 403: The option origins does not admit the origin of this request.
handshake.refused warning: Handshake from 127.0.0.1 refused with 503: The number of connections has reached the limit set by the option maxConnections [status=503 method=GET path=/chat option=maxConnections]
-> GET /chat?token=secret ws 503: The number of connections has reached the limit set by the option maxConnections.
handshake.refused warning: Handshake from 127.0.0.1 refused with 429: The number of connections from this address has reached the limit set by the option maxConnectionsPerIp [status=429 method=GET path=/chat option=maxConnectionsPerIp]
-> GET /chat?token=secret ws 429: The number of connections from this address has reached the limit set by the option maxConnectionsPerIp.
handshake.refused warning: Handshake from 127.0.0.1 refused with 400: None of the offered subprotocols is in the option subprotocols, and strictSubprotocols is set [status=400 method=GET path=/chat option=strictSubprotocols]
-> GET /chat?token=secret ws 400: None of the offered subprotocols is in the option subprotocols, and strictSubprotocols is set.
handshake.refused notice: Handshake from 127.0.0.1 refused with 400: The Sec-WebSocket-Key header must be one base64 value of 16 bytes [status=400 method=GET path=/chat]
-> GET /chat?token=secret ws 400: The Sec-WebSocket-Key header must be one base64 value of 16 bytes.
handshake.refused notice: Handshake from 127.0.0.1 refused with 405: A WebSocket handshake is a GET request [status=405 method=POST path=/chat]
-> POST /chat?token=secret ws 405: A WebSocket handshake is a GET request.
handshake.refused warning: Handshake from 127.0.0.1 refused with 503: onUpgrade did not decide within the time limit of the option handshakeTimeout [status=503 method=GET path=/chat option=handshakeTimeout]
-> GET /chat?token=secret ws 503: onUpgrade did not decide within the time limit of the option handshakeTimeout.
handshake.rejected info: Handshake from 127.0.0.1 refused with 401: The application rejected the handshake [status=401 method=GET path=/chat]
-> onRefused not called
