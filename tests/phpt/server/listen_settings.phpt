--TEST--
The settings of an address apply: mode, shared port, IPv6 only, and backlog
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$path = sys_get_temp_dir() . '/sprocket-settings-' . getmypid() . '.sock';
$server = new Sprocket\Server("unix://$path?mode=0640&backlog=5");
$server->start();
clearstatcache();
printf("%o %s\n", fileperms($path) & 0777, $server->addresses()[0] === "unix://$path" ? 'address' : $server->addresses()[0]);
echo Client::of($server)->open(['Host' => 'localhost'])->head->status, "\n";
halt($server);
var_dump(file_exists($path));

$one = new Sprocket\Server('ws://127.0.0.1:0?reusePort');
$one->start();
$port = substr(strrchr($one->addresses()[0], ':'), 1);
$two = new Sprocket\Server("ws://127.0.0.1:$port?reusePort=1");
$two->start();
echo thrown(fn () => (new Sprocket\Server("ws://127.0.0.1:$port"))->start(), "127.0.0.1:$port"), "\n";
--EXPECT--
640 address
101
bool(false)
Sprocket\BindException
