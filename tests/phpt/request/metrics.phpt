--TEST--
The server answers metricsPath in the Prometheus format, without PHP
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(metricsPath: '/metrics'));
$server->onRequest(fn () => throw new Exception('not for PHP'));
$server->start();
$server->onOpen(fn () => null);
$open = Client::of($server)->open();
pump($server, fn () => $server->count() === 1);
$r = Client::of($server)->raw("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")->response();
echo "$r->status {$r->headers['content-type']}\n";
echo implode("\n", preg_grep('/sprocket_connections\b|opened|received_bytes|_count.*open/', explode("\n", $r->body))), "\n";
--EXPECT--
200 text/plain; version=0.0.4; charset=utf-8
# HELP sprocket_connections Open WebSocket connections.
# TYPE sprocket_connections gauge
sprocket_connections 1
# HELP sprocket_connections_opened_total Handshakes answered with 101.
# TYPE sprocket_connections_opened_total counter
sprocket_connections_opened_total 1
# HELP sprocket_received_bytes_total Payload bytes of messages received.
# TYPE sprocket_received_bytes_total counter
sprocket_received_bytes_total 0
sprocket_callback_seconds_count{callback="open"} 1
