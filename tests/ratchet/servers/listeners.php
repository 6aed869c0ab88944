<?php

/**
 * Tells what the native server finds in each kind of socket that the installed version of ReactPHP
 * makes. Argument: a TLS context, as JSON.
 */

require __DIR__ . '/../support/autoload.php';

use Ratchet\Native\Listener;
use React\Socket\{SecureServer, Server, SocketServer, TcpServer, UnixServer};

tell('ready', 0);
$loop = loop();
$context = json_decode($argv[1], true);
$path = sys_get_temp_dir() . '/sprocket-listeners-' . getmypid();
$sockets = [
    'TcpServer' => new TcpServer('127.0.0.1:0', $loop),
    'UnixServer' => new UnixServer("$path.1", $loop),
    'SecureServer' => new SecureServer(new TcpServer('127.0.0.1:0', $loop), $loop, $context),
    'Server' => new Server('127.0.0.1:0', $loop),
];
if (class_exists(SocketServer::class)) {
    $sockets['SocketServer'] = new SocketServer('127.0.0.1:0', [], $loop);
    $sockets['unix://'] = new SocketServer("unix://$path.2", [], $loop);
    $sockets['tls://'] = new SocketServer('tls://127.0.0.1:0', ['tls' => $context], $loop);
}
if (class_exists(React\Socket\FdServer::class)) {
    $shared = stream_socket_server('tcp://127.0.0.1:0');
    foreach (glob('/proc/self/fd/*') as $link) {
        if (@readlink($link) === 'socket:[' . fstat($shared)['ino'] . ']') {
            $sockets['php://fd'] = new SocketServer('php://fd/' . basename($link), [], $loop);
        }
    }
}
foreach ($sockets as $kind => $socket) {
    $listener = Listener::of($socket);
    $endpoint = $listener->endpoint();
    $resource = is_array($endpoint) ? $endpoint[0][0] : $endpoint;
    tell('listener', $kind, is_resource($resource), $listener->loop === $loop, $listener->reason, $listener->tls !== null);
    $socket->close();
}
array_map('unlink', array_filter(["$path.1", "$path.2"], 'file_exists'));
tell('listener');
