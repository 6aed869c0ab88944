--TEST--
One server listens on several addresses of different kinds
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$path = sys_get_temp_dir() . '/sprocket-' . getmypid() . '.sock';
$server = new Sprocket\Server(['ws://127.0.0.1:0', "unix://$path", 'ws://127.0.0.1:0']);
$server->onMessage(fn ($c, $m) => $c->send("$m of {$c->id}"));
$server->start();
foreach ([0, 1, 2] as $listener) {
    $clients[] = $client = Client::of($server, $listener)->open(['Host' => 'localhost']);
    echo preg_replace('/\d+/', 'N', $client->send('hello')->message()), "\n";
}
var_dump(count($server), $server->addresses()[1] === "unix://$path");
halt($server);
var_dump(file_exists($path));
--EXPECT--
hello of N
hello of N
hello of N
int(3)
bool(true)
bool(false)
