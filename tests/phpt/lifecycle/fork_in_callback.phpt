--TEST--
After a fork inside a callback the child can exit, and the parent serves on
--EXTENSIONS--
sprocket
pcntl
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onMessage(function ($c, $m) {
    $pid = pcntl_fork();
    if ($pid === 0) {
        exit(thrown(fn () => $c->send('from the child')) === 'Sprocket\ForkException' ? 6 : 1);
    }
    pcntl_waitpid($pid, $status);
    $c->send($m . ' ' . (pcntl_wifexited($status) ? pcntl_wexitstatus($status) : 'killed by ' . pcntl_wtermsig($status)));
});
$server->start();
$client = Client::of($server)->open();
echo $client->send('child left with')->message(), "\n";
echo $client->send('child left with')->message(), "\n";
--EXPECT--
child left with 6
child left with 6
