--TEST--
If a port is in use, the exception names the address and the reason, and no descriptor stays open
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$taken = stream_socket_server('tcp://127.0.0.1:0');
$address = 'ws://' . stream_socket_get_name($taken, false);
$descriptors = fn (): int => count(scandir('/proc/self/fd'));
$server = new Sprocket\Server(['ws://127.0.0.1:0', $address]);
$before = [$descriptors(), count(scandir('/proc/self/task'))];
try {
    $server->start();
} catch (Sprocket\BindException $e) {
    var_dump(str_contains($e->getMessage(), stream_socket_get_name($taken, false)), $e->getCode());
}
var_dump($server->isRunning(), $server->addresses(), [$descriptors(), count(scandir('/proc/self/task'))] === $before);

fclose($taken);
$server->start();
var_dump($server->addresses()[1] === $address);
--EXPECT--
bool(true)
int(98)
bool(false)
array(0) {
}
bool(true)
bool(true)
