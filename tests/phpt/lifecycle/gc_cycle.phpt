--TEST--
A server in a cycle through its own callbacks is collected, along with its threads and descriptors
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

gc_disable();
$server = new Sprocket\Server('ws://127.0.0.1:0'); // creates what is initialized once per process
$server->start();
unset($server);
gc_collect_cycles();

$state = fn (): array => [count(scandir('/proc/self/fd')), count(scandir('/proc/self/task'))];
$before = $state();
$reference = [];
foreach (['onUpgrade', 'onOpen', 'onMessage', 'onClose', 'onDrain', 'onPong', 'onRequest', 'onError', 'after', 'every'] as $setter) {
    $server = new Sprocket\Server('ws://127.0.0.1:0');
    $callback = function () use ($server) {};
    match ($setter) {
        'after', 'every' => $server->$setter(1000.0, $callback),
        default => $server->$setter($callback),
    };
    $server->start();
    $reference[$setter] = WeakReference::create($server);
    unset($server, $callback);
    gc_collect_cycles();
    echo $reference[$setter]->get() ? "$setter leaks\n" : '';
}
var_dump($state() === $before);
--EXPECT--
bool(true)
