--TEST--
A stale socket file is replaced, and one that a server listens on is not
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$path = sys_get_temp_dir() . '/sprocket-' . getmypid() . '.sock';
fclose(stream_socket_server("unix://$path"));
var_dump(file_exists($path));

$server = new Sprocket\Server("unix://$path");
$server->onMessage(fn ($c, $m) => $c->send($m));
$server->start();
echo thrown(fn () => (new Sprocket\Server("unix://$path"))->start(), $path), "\n";
echo Client::of($server)->open(['Host' => 'localhost'])->send('still here')->message(), "\n";
halt($server);
--EXPECT--
bool(true)
Sprocket\BindException
still here
