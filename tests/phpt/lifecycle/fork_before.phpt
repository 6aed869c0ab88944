--TEST--
A server created before a fork can be started in the child
--EXTENSIONS--
sprocket
pcntl
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onMessage(fn ($c, $m) => $c->send("$m from " . ($GLOBALS['pid'] ? 'parent' : 'child')));
foreach ([1, 2] as $round) {
    $pid = pcntl_fork();
    if ($pid === 0) {
        $server->start();
        echo Client::of($server)->open()->send('hello')->message(), "\n";
        halt($server);
        exit(5);
    }
    pcntl_waitpid($pid, $status);
    echo pcntl_wifexited($status) ? pcntl_wexitstatus($status) : 'killed by ' . pcntl_wtermsig($status), "\n";
}
$server->start();
echo Client::of($server)->open()->send('hello')->message(), "\n";
--EXPECT--
hello from child
5
hello from child
5
hello from parent
