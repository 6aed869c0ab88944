<?php
/**
 * Workerman, one worker process. Arguments: AUTOLOAD PORT echo|fan|chat|tls. See bench/README.md.
 */
declare(strict_types=1);

require __DIR__ . '/common.php';
require $argv[1];

use Workerman\Connection\TcpConnection;
use Workerman\Worker;

[$port, $mode] = port_and_mode($argv, true);
[$certificate, $key] = certificate();
$port = free_port($port);
$argv = [$argv[0], 'start'];

// Large enough that a fan-out to slow readers drops no message.
TcpConnection::$defaultMaxSendBufferSize = 64 << 20;
$audience = new Audience($mode);
$state = sys_get_temp_dir() . '/sprocket-bench-workerman-' . getmypid();
Worker::$pidFile = "$state.pid";
Worker::$logFile = "$state.log";
Worker::$statusFile = "$state.status";

$worker = new Worker("websocket://127.0.0.1:$port", [
    'socket' => ['backlog' => 4096, 'tcp_nodelay' => true],
    ...($mode === 'tls' ? ['ssl' => ['local_cert' => $certificate, 'local_pk' => $key]] : []),
]);
$worker->transport = $mode === 'tls' ? 'ssl' : 'tcp';
$worker->count = 1;
$worker->onWorkerStart = static function () use ($port): void {
    echo "ready $port\n";
};
$worker->onConnect = static function (TcpConnection $connection) use ($audience): void {
    $connection->onWebSocketConnect = static function (TcpConnection $connection) use ($audience): void {
        $audience->open($connection->id, $connection);
    };
};
$worker->onMessage = static function (TcpConnection $connection, string $payload) use ($audience): void {
    foreach ($audience->of($connection->id, $payload) as $member) {
        $member->send($payload);
    }
};
$worker->onClose = static fn (TcpConnection $connection) => $audience->close($connection->id);
Worker::runAll();
