--TEST--
A server with workers refuses start(), poll() and stream(), and the exceptions name run() and onStart()
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

foreach ([0, 2] as $workers) {
    $server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(workers: $workers));
    foreach (['start', 'poll', 'stream'] as $method) {
        echo $method, ' ', thrown(fn () => $server->$method(), "$method()", 'run()', 'onStart()'), "\n";
    }
    $server->stop();
    var_dump($server->isRunning(), $server->addresses(), $server->worker());
}
--EXPECT--
start Sprocket\StateException
poll Sprocket\StateException
stream Sprocket\StateException
bool(false)
array(0) {
}
NULL
start Sprocket\StateException
poll Sprocket\StateException
stream Sprocket\StateException
bool(false)
array(0) {
}
NULL
