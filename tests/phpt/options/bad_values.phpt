--TEST--
Each invalid value is refused with the option's name and the allowed values
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$bad = [
    'maxConnections' => [0, -1], 'maxConnectionsPerIp' => [-1], 'maxMessageSize' => [0, -1, 2147483648],
    'maxHeaderSize' => [0, 8191, 1048577], 'maxBodySize' => [-1, 2147483648],
    'handshakeTimeout' => [0.0, -1.0, 0.0009, 86400.1, NAN, INF], 'pingInterval' => [-1.0, 0.0009, 86400.1, NAN, INF],
    'pingTimeout' => [0.0, -1.0, 86400.1, NAN, -INF], 'closeTimeout' => [0.0, -1.0, 86400.1, NAN],
    'sendBufferLimit' => [0, -1, 2147483648], 'maxPendingMessages' => [0, -1, 1000001], 'maxPendingBytes' => [0, -1, 2147483648],
    'origins' => [[''], ['https://example.com/path'], ['https://'], ['a b'], [5], ["https://a\nb"],
        ['https://*'], ['https://a.*.example'], ['*.127.0.0.1'], ['https://u@a'], ['https://a:99999'], ['http://bücher.example'], ['*', 'a']],
    'subprotocols' => [[''], ['a b'], ['a,b'], ["a\n"], ['a', 'a'], ['é'], [5]],
    'healthPath' => ['', 'healthz', "/a\nb"], 'metricsPath' => ['', 'metrics', "/a?b"],
    'trustedProxies' => [[''], ['10.0.0.1/8'], ['10.0.0.0/33'], ['example.com'], ['unix'], [5], ['::1', '::1']],
    'ioThreads' => [0, -1, 65], 'backlog' => [0, -1, 65536],
    'history' => [['room.*' => 5], ['room.*' => []], [new Sprocket\History()], ['a.>.b' => new Sprocket\History()],
        ['' => new Sprocket\History()], ["\xff" => new Sprocket\History()], [str_repeat('x', 256) => new Sprocket\History()]],
    'broker' => ['', 'redis', 'http://127.0.0.1', "redis://\xff", 'nats://'], 'brokerQueue' => [-1, 65535, 2147483648],
    'brokerPrefix' => ["a\nb", str_repeat('x', 101)],
    'publishSocket' => ['', 'run/a.sock', '/', "/a\0b", '/' . str_repeat('x', 107), 'tcp:///a'], 'publishSocketMode' => [-1, 01000],
    'staticFiles' => ['', 'public', __FILE__, '/nonexistent', "/tmp\0"],
    'workers' => [-1, 65], 'maxRequests' => [-1], 'maxMemory' => [-1], 'maxPendingTotal' => [-1, 0, 1048575],
    'logger' => [5, true, 'no such function', [], ['a', 'b'], new stdClass()],
    'maxHandshakes' => [0, -1], 'maxHandshakesPerIp' => [-1],
];
foreach ($bad as $option => $values) {
    foreach ($values as $value) {
        $shown = is_float($value) && !is_finite($value) ? (string) $value : json_encode($value);
        try {
            new Sprocket\Options(...[$option => $value]);
            echo "$option: $shown is accepted\n";
        } catch (Sprocket\InvalidOption $e) {
            // For a list, the exception holds the invalid element.
            $same = $e->value === $value || is_float($value) && is_nan($value) || is_array($value) && in_array($e->value, $value, true);
            if ($e->option !== $option || !$same || !str_contains($e->getMessage(), $option)
                || $e->allowed === '' || !str_contains($e->getMessage(), $e->allowed)) {
                echo "$option: $shown: {$e->option}, {$e->allowed}, {$e->getMessage()}\n";
            }
        }
    }
}
echo "done\n";
--EXPECT--
done
