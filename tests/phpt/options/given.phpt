--TEST--
Options keep the given values
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$given = [
    'maxConnections' => 7, 'maxConnectionsPerIp' => 3, 'maxMessageSize' => 100, 'maxHeaderSize' => 8192, 'maxBodySize' => 0,
    'handshakeTimeout' => 1.5, 'pingInterval' => 0.0, 'pingTimeout' => 2.5, 'closeTimeout' => 0.5, 'sendBufferLimit' => 1000,
    'slowConsumer' => Sprocket\SlowConsumer::Drop, 'maxPendingMessages' => 1, 'maxPendingBytes' => 2,
    'origins' => ['https://example.com'], 'subprotocols' => ['a', 'b'], 'strictSubprotocols' => true, 'healthPath' => '/health',
    'ioThreads' => 2, 'backlog' => 10, 'trustedProxies' => ['10.0.0.0/8', 'unix:'], 'metricsPath' => '/metrics',
    'tls' => new Sprocket\Tls('/etc/chat.pem'),
    'compression' => new Sprocket\Compression(level: 9),
    'publishSocket' => '/run/p.sock', 'publishSocketMode' => 0660, 'staticFiles' => __DIR__,
    'history' => ['room.*' => new Sprocket\History(5), '7' => new Sprocket\History(bytes: 9)],
    'broker' => 'redis://user:secret@redis.example:6380/2', 'brokerPrefix' => 'chat.', 'brokerQueue' => 100_000,
    'workers' => 4, 'maxRequests' => 100000, 'maxMemory' => 64 << 20, 'logger' => 'error_log',
    'maxPendingTotal' => 1 << 30,
    'workers' => 4, 'maxRequests' => 100000, 'maxMemory' => 64 << 20,
    'maxHandshakes' => 9, 'maxHandshakesPerIp' => 4,
];
$options = new Sprocket\Options(...$given);
var_dump(get_object_vars($options) === $given);
$options = new Sprocket\Options(...array_values($given));
var_dump(get_object_vars($options) === $given);
--EXPECT--
bool(true)
bool(true)
