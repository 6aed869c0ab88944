--TEST--
The constructor refuses a malformed address and names it
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$malformed = [
    '', '127.0.0.1:80', 'http://127.0.0.1:80', 'ws://', 'ws://127.0.0.1', 'ws://127.0.0.1:', 'ws://127.0.0.1:65536',
    'ws://127.0.0.1:x', 'ws://::1:80', 'ws://127.0.0.1:80/path', 'unix://', 'fd://', 'fd://x', 'fd://-1', "unix:///a\0b",
    'ws://127.0.0.1:80?tls', 'ws://127.0.0.1:80?mode=0600', 'unix:///a?mode=8', 'unix:///a?mode=7777', 'unix:///a?mode',
    'unix:///a?reusePort', 'fd://3?backlog=5', 'ws://127.0.0.1:80?backlog=0', 'ws://127.0.0.1:80?proxyProtocol=yes',
    'ws://127.0.0.1:80?reusePort&reusePort', 'ws://127.0.0.1:80?nonsense', 'fd://systemd0', 'fd://3/name',
    [], [[]], 5, null, true, 1.5, new stdClass, ['ws://127.0.0.1:0', 'nonsense'],
];
foreach ($malformed as $listen) {
    try {
        new Sprocket\Server($listen);
        echo "accepted: ", json_encode($listen), "\n";
    } catch (Sprocket\InvalidOption $e) {
        if ($e->option !== 'listen' || !str_contains($e->getMessage(), 'listen')) {
            echo json_encode($listen), ": {$e->getMessage()}\n";
        }
    } catch (TypeError $e) {
        echo is_string($listen) ? "TypeError for $listen\n" : '';
    }
}
echo "done\n";
--EXPECT--
done
