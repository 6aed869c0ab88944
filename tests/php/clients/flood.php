<?php

declare(strict_types=1);

/**
 * One flooder: `flood.php WS-ADDRESS WSS-ADDRESS NAME SECONDS`, where NAME is a key of Floods::all(). It
 * sends as fast as the server accepts, reads all answers, and reconnects when the server ends the
 * connection. Prints, as JSON, the number of bytes sent, and how often the connection ended in which way.
 */

require __DIR__ . '/../lib/Floods.php';

[, $ws, $wss, $name, $seconds] = $argv;
[$by, $once, $forever, $write] = Floods::all()[$name];
$deadline = microtime(true) + (float) $seconds;
[$sent, $ends] = [0, []];

function connect(string $by, string $ws, string $wss, float $deadline): mixed
{
    $secure = $by === 'wss' || $by === 'h2';
    $context = stream_context_create(['ssl' => [
        'verify_peer' => false,
        'verify_peer_name' => false,
    ] + ($by === 'h2' ? ['alpn_protocols' => 'h2'] : [])]);
    $address = preg_replace('~^wss?~', $secure ? 'ssl' : 'tcp', $secure ? $wss : $ws);
    $left = max(0.01, $deadline - microtime(true));
    $stream = @stream_socket_client($address, $errno, $error, $left, STREAM_CLIENT_CONNECT, $context);
    if ($stream === false || $by === 'http') {
        return $stream;
    }
    stream_set_timeout($stream, 1);
    if ($by === 'h2') {
        fwrite($stream, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" . Floods::h2(4, 0, 0, '') . Floods::h2(4, 1, 0, ''));
        return $stream;
    }
    fwrite($stream, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        . "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        . "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n");
    while (($line = fgets($stream)) !== false && trim($line) !== '');
    return $stream;
}

/** How the server ended the connection: a close code, a GOAWAY, or a cut. */
function last_words(string $tail): string
{
    if (preg_match('/\x88([\x02-\x7d])(..)(.*)$/s', $tail, $m) && strlen($m[3]) === ord($m[1]) - 2) {
        return (string) unpack('n', $m[2])[1];
    }
    if (preg_match('/\0\0.\x07\0\0\0\0\0....\0\0\0(.)/s', $tail, $m)) {
        return 'GOAWAY ' . ([0 => 'NO_ERROR', 1 => 'PROTOCOL_ERROR', 11 => 'ENHANCE_YOUR_CALM'][ord($m[1])] ?? ord($m[1]));
    }
    return 'cut';
}

while (microtime(true) < $deadline) {
    $stream = connect($by, $ws, $wss, $deadline);
    if ($stream === false || $by === 'connect') {
        $end = $stream === false ? 'refused' : 'closed by itself';
        $ends[$end] = ($ends[$end] ?? 0) + 1;
        is_resource($stream) ? fclose($stream) : usleep(1000);
        continue;
    }
    stream_set_blocking($stream, false);
    stream_set_write_buffer($stream, 0);
    $tail = '';
    [$round, $bytes, $at] = [0, $once . (is_string($forever) ? $forever : $forever(0)), 0];
    for ($turn = 0; microtime(true) < $deadline; $turn++) {
        $n = @fwrite($stream, $write ? $bytes[$at] : substr($bytes, $at, 65536));
        if ($n > 0) {
            [$sent, $at] = [$sent + $n, $at + $n];
            if ($at === strlen($bytes)) {
                [$bytes, $at] = [is_string($forever) ? $forever : $forever(++$round), 0];
            }
            if ($write && $turn % 64) {
                continue; // Reading occasionally is enough.
            }
        }
        while (($in = @fread($stream, 65536)) !== '' && $in !== false) {
            $tail = substr($tail . $in, -300);
        }
        if (feof($stream) || $n === false && $tail !== '' && last_words($tail) !== 'cut') {
            break;
        }
        if (!$n) {
            [$read, $writable, $none] = [[$stream], [$stream], null];
            @stream_select($read, $writable, $none, 0, 50_000);
        }
    }
    if (microtime(true) < $deadline) {
        $end = last_words($tail);
        $ends[$end] = ($ends[$end] ?? 0) + 1;
    }
    fclose($stream);
}
echo json_encode(['sent' => $sent, 'ends' => $ends]), "\n";
