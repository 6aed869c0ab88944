--TEST--
After a fork the child gets an exception that names both processes, and the parent works on
--EXTENSIONS--
sprocket
pcntl
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onUpgrade(function ($h) use (&$handshake) { $h->request->path() === '/wait' ? $handshake = $h : $h->accept(); });
$server->onMessage(fn ($c, $m) => $c->send($m));
$server->start();
$client = Client::of($server)->open();
pump($server, fn () => count($server) === 1);
$waiting = Client::of($server);
$waiting->raw($waiting->upgradeRequest([], '/wait'));
pump($server, function () use (&$handshake) { return $handshake; });
$connection = current($server->connections());
$parent = getmypid();
$pid = pcntl_fork();
if ($pid === 0) {
    $calls = [
        'run' => fn () => $server->run(), 'poll' => fn () => $server->poll(), 'stream' => fn () => $server->stream(),
        'stop' => fn () => $server->stop(), 'send' => fn () => $connection->send('x'), 'ping' => fn () => $connection->ping(),
        'close' => fn () => $connection->close(), 'terminate' => fn () => $connection->terminate(),
        'accept' => fn () => $handshake->accept(), 'reject' => fn () => $handshake->reject(),
    ];
    foreach ($calls as $name => $call) {
        echo $name, ' ', thrown($call, (string) $parent, (string) getmypid()), "\n";
    }
    echo $connection->id > 0 ? '' : 'no id', "own ";
    $own = new Sprocket\Server('ws://127.0.0.1:0');
    $own->onMessage(fn ($c, $m) => $c->send($m));
    $own->start();
    echo Client::of($own)->open()->send('hello')->message(), "\n";
    exit(5);
}
pcntl_waitpid($pid, $status);
echo pcntl_wifexited($status) ? pcntl_wexitstatus($status) : 'killed by ' . pcntl_wtermsig($status), "\n";
echo $client->send('parent is unharmed')->message(), "\n";
$handshake->accept();
echo $waiting->response()->status, ' ';
pump($server, fn () => count($server) === 2);
echo count($server), ' ', $server->stats()['opened'], "\n";
halt($server);
--EXPECT--
run Sprocket\ForkException
poll Sprocket\ForkException
stream Sprocket\ForkException
stop Sprocket\ForkException
send Sprocket\ForkException
ping Sprocket\ForkException
close Sprocket\ForkException
terminate Sprocket\ForkException
accept Sprocket\ForkException
reject Sprocket\ForkException
own hello
5
parent is unharmed
101 2 2
