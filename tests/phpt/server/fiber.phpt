--TEST--
Callbacks can start fibers, and a fiber can poll the server
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$waiting = [];
$server->onMessage(function ($c, $m) use (&$waiting) {
    $fiber = new Fiber(function () use ($c, $m) {
        $answer = Fiber::suspend();
        $c->send("$m $answer");
    });
    $fiber->start();
    $waiting[] = $fiber;
});
$server->start();
$client = Client::of($server)->open()->send('one')->send('two');
$pump = new Fiber(function () use ($server, &$waiting) {
    pump($server, function () use (&$waiting) { return count($waiting) === 2; });
});
$pump->start();
foreach (array_reverse($waiting) as $i => $fiber) {
    $fiber->resume($i);
}
echo $client->message(), ', ', $client->message(), "\n";
--EXPECT--
two 0, one 1
