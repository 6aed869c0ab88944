--TEST--
The log reports start and stop, with addresses, versions, limits, and the number of connections cut
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/logger.inc';

$log = new Lines();
$server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(logger: $log, maxConnections: 7, pingInterval: 1.5));
$server->start();
echo count($log->lines), "\n";
[$level, $message, $context] = $log->lines[0];
echo $level, ' ', $message === "Listening on {$server->addresses()[0]}" ? 'right' : $message, "\n";
var_dump($context['addresses'] === $server->addresses(), $context['php'] === PHP_VERSION, $context['version'] === phpversion('sprocket') || phpversion('sprocket') === false);
var_dump($context['process'] === getmypid(), $context['maxConnections'], $context['pingInterval'], $context['maxMessageSize']);

$clients = [Client::of($server)->open(), Client::of($server)->open()];
pump($server, fn () => count($server) === 2);
$server->stop(0.05);
$server->stop(0.05);
// The clients never answer the close frame.
pump($server, fn () => !$server->isRunning());
foreach (array_slice($log->lines, 1) as $line) {
    echo show_line($line), "\n";
}

$log->lines = [];
$server->start();
$server->stop(1.5);
pump($server, fn () => !$server->isRunning());
foreach (array_slice($log->lines, 1) as $line) {
    echo show_line($line), "\n";
}
--EXPECT--
1
info right
bool(true)
bool(true)
bool(true)
bool(true)
int(7)
float(1.5)
int(1048576)
info: Stopping: 2 connections to close within 0.1 s [connections=2 grace=0.05]
info: Stopped: 2 connections were cut at the end of the grace period [cut=2]
info: Stopping: 0 connections to close within 1.5 s [connections=0 grace=1.5]
info: Stopped: every connection was closed in order [cut=0]
