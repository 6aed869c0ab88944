--TEST--
fd://systemd takes the passed sockets, all or by name, and explains errors
--EXTENSIONS--
sprocket
--SKIPIF--
<?php
if (!is_dir('/proc/self/fd')) die('skip descriptors are counted in /proc');
?>
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$start = function (string $listen): string {
    $server = new Sprocket\Server($listen);
    try {
        $server->start();
    } catch (Sprocket\BindException $e) {
        return str_replace((string) getmypid(), 'PID', $e->getMessage());
    }
    return implode(' ', array_map(fn (string $a): string => preg_replace('/\d+$/', 'PORT', $a), $server->addresses()));
};
putenv('LISTEN_PID');
echo $start('fd://systemd'), "\n";
putenv('LISTEN_PID=1');
putenv('LISTEN_FDS=1');
echo $start('fd://systemd'), "\n";

// Like systemd, this passes the sockets as descriptors from 3 on and then executes the program.
$child = <<<'PHP'
    $listen = ['fd://systemd', 'fd://systemd/two', 'fd://systemd/three'];
    foreach ($listen as $address) {
        $server = new Sprocket\Server($address);
        try {
            $server->start();
            echo count($server->addresses()), ' ', implode(' ', $server->addresses()), "\n";
        } catch (Sprocket\Exception $e) {
            echo $e->getMessage(), "\n";
        }
        unset($server);
    }
    PHP;
$one = stream_socket_server('tcp://127.0.0.1:0');
$two = stream_socket_server('tcp://127.0.0.1:0');
$extension = getenv('TEST_PHP_EXTRA_ARGS') ?: (getenv('SPROCKET_SO') ? '-d extension=' . escapeshellarg(getenv('SPROCKET_SO')) : '');
// The shell replaces itself with PHP, so that LISTEN_PID is PHP's process id.
$command = 'export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=one:two; exec ' . escapeshellarg(PHP_BINARY) . " $extension -r " . escapeshellarg($child);
$process = proc_open(['sh', '-c', $command], [1 => ['pipe', 'w'], 2 => ['redirect', 1], 3 => $one, 4 => $two], $pipes);
echo preg_replace('/:\d+/', ':PORT', stream_get_contents($pipes[1]));
proc_close($process);
--EXPECT--
Cannot listen on fd://systemd: no sockets were passed to this process (LISTEN_PID is not set)
Cannot listen on fd://systemd: its sockets are for process 1 (LISTEN_PID), this is PID
2 ws://127.0.0.1:PORT ws://127.0.0.1:PORT
1 ws://127.0.0.1:PORT
Cannot listen on fd://systemd/three: no socket named "three" was passed
