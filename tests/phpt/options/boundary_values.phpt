--TEST--
The smallest and the largest value of each option are accepted
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$good = [
    'maxConnections' => [1, PHP_INT_MAX, null], 'maxConnectionsPerIp' => [0, PHP_INT_MAX], 'maxMessageSize' => [1, 2147483647],
    'maxHeaderSize' => [8192, 1048576], 'maxBodySize' => [0, 2147483647], 'handshakeTimeout' => [0.001, 86400.0, 5],
    'pingInterval' => [0.0, 0.001, 86400.0], 'pingTimeout' => [0.001, 86400.0], 'closeTimeout' => [0.001, 86400.0],
    'sendBufferLimit' => [1, 2147483647], 'maxPendingMessages' => [1, 1000000], 'maxPendingBytes' => [1, 2147483647],
    'origins' => [null, [], ['*'], ['http://localhost:3000'], ['example.com', 'https://example.com', 'https://example.com/', 'https://*.example.com:8443', '*.example.com', 'file://', 'null', 'capacitor://localhost', 'http://[::1]:8080']],
    'subprotocols' => [[], ['a'], ["!#$%&'*+-.^_`|~09azAZ"]], 'healthPath' => [null, '/', '/healthz'],
    'ioThreads' => [1, 64], 'backlog' => [1, 65535], 'compression' => [true, false],
    'publishSocket' => [null, '/a', '/' . str_repeat('x', 106), 'unix:///run/a.sock'], 'publishSocketMode' => [0, 0777], 'staticFiles' => [null, '/', __DIR__],
    'history' => [[], ['a' => new Sprocket\History()], ['>' => new Sprocket\History(), str_repeat('x', 255) => new Sprocket\History()]],
    'broker' => [null, 'redis://127.0.0.1', 'rediss://a:b@example.com:1/15', 'nats://127.0.0.1:4222', 'tls://nats.example'],
    'brokerPrefix' => ['a', str_repeat('x', 100)], 'brokerQueue' => [65536, 2147483647],
    'publishSocket' => [null, '/a', '/' . str_repeat('x', 106), 'unix:///run/a.sock'], 'publishSocketMode' => [0, 0777],
    'workers' => [0, 1, 64], 'maxRequests' => [0, PHP_INT_MAX], 'maxMemory' => [0, PHP_INT_MAX], 'maxPendingTotal' => [1048576, PHP_INT_MAX],
    'workers' => [0, 1, 64], 'maxRequests' => [0, PHP_INT_MAX], 'maxMemory' => [0, PHP_INT_MAX],
    'maxHandshakes' => [1, PHP_INT_MAX, null], 'maxHandshakesPerIp' => [0, PHP_INT_MAX],
];
foreach ($good as $option => $values) {
    foreach ($values as $value) {
        $options = new Sprocket\Options(...[$option => $value]);
        echo $options->$option == $value ? '' : "$option changed " . json_encode($value) . "\n";
    }
}
echo "done\n";
--EXPECT--
done
