--TEST--
A forked child publishes over a connection of its own
--EXTENSIONS--
sprocket
pcntl
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';
require __DIR__ . '/../inc/child.inc';

$path = sys_get_temp_dir() . '/sprocket-fork-' . getmypid() . '.sock';
$server = Child::code(<<<'PHP'
    $server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(publishSocket: $argv[1]));
    $server->onRequest(fn () => new Sprocket\Response(200, json_encode($server->stats())));
    $server->start();
    echo $server->addresses()[0], "\n";
    $server->run();
    PHP, $path);
$address = $server->line('~^ws://~');
$publisher = new Sprocket\Publisher("unix://$path", 10.0);
$publisher->publish('a', 'before');
$pid = pcntl_fork();
for ($i = 0; $i < 200; $i++) {
    // On a shared connection, one process would read the other's answer, and the other would wait in vain.
    $publisher->publish('a', $pid === 0 ? 'child' : 'parent');
}
if ($pid === 0) {
    pcntl_exec('/bin/sh', ['-c', 'exit 9']); // exec skips destructors, which would stop the server
}
pcntl_waitpid($pid, $status);
echo pcntl_wifexited($status) ? pcntl_wexitstatus($status) : 'the child failed', "\n";
$publisher->publish('a', 'after');
$response = (new Client($address))->raw("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")->response();
$stats = json_decode($response->body, true);
echo $stats['socketPublished'], ' ', $stats['socketRefused'], "\n";
$server->signal(15);
echo $server->wait(), "\n";
--EXPECT--
9
402 0
0
