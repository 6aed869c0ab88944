--TEST--
Without workers the hooks run around run(), as in worker 1
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onStart(function () use ($server) {
    echo 'onStart ', json_encode(func_get_args() === [$server]), ' ', count($server->addresses()), ' ', $server->worker(), "\n";
});
$server->onWorkerStart(function ($s, int $n) use ($server) {
    echo 'onWorkerStart ', json_encode($s === $server), " $n ", thrown(fn () => $server->run()), "\n";
});
$server->onWorkerStop(function ($s, int $n) {
    echo "onWorkerStop $n ", json_encode($s->isRunning()), "\n";
});
$server->after(0, fn () => $server->stop());
foreach ([1, 2] as $round) {
    $server->run();
    var_dump($server->worker());
    $server->after(0, fn () => $server->stop());
}
--EXPECT--
onStart true 1 1
onWorkerStart true 1 Sprocket\StateException
onWorkerStop 1 false
NULL
onStart true 1 1
onWorkerStart true 1 Sprocket\StateException
onWorkerStop 1 false
NULL
