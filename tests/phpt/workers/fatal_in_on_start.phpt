--TEST--
A fatal error in onStart ends the script before any worker starts
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/child.inc';

$child = Child::code(<<<'PHP'
    register_shutdown_function(fn () => print("shutdown\n"));
    $server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(workers: 2));
    $server->onWorkerStart(fn () => print("worker\n"));
    $server->onStart(function () { class Again {} eval('class Again {}'); });
    $server->run();
    PHP);
echo $child->wait(), ' ', strpos($child->output, 'Cannot declare class Again') > 0 ? 'fatal' : $child->output, ' ',
    substr($child->output, -9);
--EXPECT--
255 fatal shutdown
