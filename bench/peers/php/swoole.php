<?php
/**
 * Swoole in base mode with one worker, which avoids handover between processes. Arguments: PORT
 * echo|fan|chat|tls. See bench/README.md.
 */
declare(strict_types=1);

require __DIR__ . '/common.php';

use Swoole\Http\Request;
use Swoole\WebSocket\Frame;
use Swoole\WebSocket\Server;

[$port, $mode] = port_and_mode($argv, defined('SWOOLE_SSL'));
[$certificate, $key] = certificate();
$secure = $mode === 'tls';
$server = new Server('127.0.0.1', $port, SWOOLE_BASE, SWOOLE_SOCK_TCP | ($secure ? SWOOLE_SSL : 0));
$server->set([
    'worker_num' => 1,
    'backlog' => 4096,
    'max_connection' => 19_500,
    'enable_coroutine' => false,
    // Large enough that a fan-out to slow readers drops no message.
    'socket_buffer_size' => 64 << 20,
    'log_level' => SWOOLE_LOG_WARNING,
    ...($secure ? ['ssl_cert_file' => $certificate, 'ssl_key_file' => $key] : []),
]);
$audience = new Audience($mode);
$server->on('workerStart', static function (Server $server): void {
    echo "ready {$server->port}\n";
});
$server->on('open', static fn (Server $server, Request $request) => $audience->open($request->fd, $request->fd));
$server->on('message', static function (Server $server, Frame $frame) use ($audience): void {
    foreach ($audience->of($frame->fd, $frame->data) as $member) {
        $server->push($member, $frame->data, $frame->opcode);
    }
});
$server->on('close', static fn (Server $server, int $fd) => $audience->close($fd));
$server->start();
