--TEST--
Exceptions from onStart and onWorkerStart leave run(), and those from onWorkerStop go to onError
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

foreach ([1, 2] as $workers) {
    $server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(workers: $workers));
    $server->onStart(fn () => throw new DomainException('start'));
    echo thrown(fn () => $server->run(), 'start'), ' ', json_encode($server->addresses() !== []), "\n";
}
$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onWorkerStart(fn () => throw new DomainException('worker start'));
echo thrown(fn () => $server->run(), 'worker start'), "\n";
$server->onWorkerStart(null)->onWorkerStop(fn () => throw new DomainException('worker stop'));
$server->onError(fn (Throwable $e, $c) => print("onError {$e->getMessage()} " . json_encode($c) . "\n"));
$server->after(0, fn () => $server->stop());
$server->run();
--EXPECT--
DomainException true
DomainException false
DomainException
onError worker stop null
