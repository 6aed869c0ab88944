--TEST--
With port 0 the kernel chooses the port, and addresses() returns it
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server(['ws://127.0.0.1:0', 'ws://127.0.0.1:0']);
var_dump($server->addresses());
$server->start();
[$first, $second] = $server->addresses();
var_dump(preg_match('~^ws://127\.0\.0\.1:[1-9]\d+$~', $first), $first !== $second);
halt($server);
var_dump($server->addresses());
--EXPECT--
array(0) {
}
int(1)
bool(true)
array(0) {
}
