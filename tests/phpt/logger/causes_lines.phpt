--TEST--
A logger that causes another line at each call does not keep the server from its work
--EXTENSIONS--
sprocket
--SKIPIF--
<?php
exec('openssl version', $output, $status);
if ($status !== 0) {
    die('skip openssl is not installed');
}
?>
--FILE--
<?php
require __DIR__ . '/../inc/logger.inc';
require __DIR__ . '/../../php/lib/Certificates.php';

use Sprocket\{Connection, Options, Server, Tls};

$calls = 0;
$certificates = new Certificates();
$tls = new Tls(...$certificates->issue('localhost'));
$server = new Server('ws://127.0.0.1:0', new Options(tls: $tls, logger: function () use (&$server, &$calls): void {
    if (++$calls > 1000) {
        exit("the logger is called without end\n");
    }
    $server->reloadTls(); // logs its result
}));
$server->onMessage(fn (Connection $c, string $payload) => $c->send($payload));
$server->start();
echo Client::of($server)->open()->send('served')->message(), "\n";
var_dump($calls > 1);
halt($server);
--EXPECT--
served
bool(true)
