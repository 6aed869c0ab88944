<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->start();
$client = Client::of($server)->open();
pump($server, fn () => count($server) === 1);
$descriptors = explode("\n", trim(shell_exec('ls -l /proc/self/fd | grep -c -E "socket:|eventfd|eventpoll|epoll"')));
var_dump((int) $descriptors[0]);
