--TEST--
A process that the script starts inherits no socket of the server
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

// The test runner's own sockets may be inherited, too.
$sockets = fn (): int => preg_match_all('/socket:|eventfd|eventpoll/', shell_exec('ls -l /proc/self/fd'));
$before = $sockets();

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->start();
$client = Client::of($server)->open();
pump($server, fn () => count($server) === 1);
// PHP's own streams are inherited, so the client's socket is the one to be seen.
echo $sockets() - $before, "\n";
--EXPECT--
1
