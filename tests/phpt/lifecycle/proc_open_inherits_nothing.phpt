--TEST--
A process started by the script inherits no socket of the server
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

// The child may also inherit sockets of the test runner.
$sockets = fn (): int => preg_match_all('/socket:|eventfd|eventpoll/', shell_exec('ls -l /proc/self/fd'));
$before = $sockets();

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->start();
$client = Client::of($server)->open();
pump($server, fn () => count($server) === 1);
// PHP's own streams are inherited, so only the client's socket is expected.
echo $sockets() - $before, "\n";
--EXPECT--
1
