--TEST--
run() with workers is refused beside a running server, whose threads would be missing in the workers
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$one = new Sprocket\Server('ws://127.0.0.1:0');
$one->start();
$two = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(workers: 2));
echo thrown(fn () => $two->run(), 'another server'), "\n";
halt($one);
$two->onStart(fn () => throw new DomainException());
echo thrown(fn () => $two->run()), "\n";
--EXPECT--
Sprocket\StateException
DomainException
