--TEST--
The server listens on a descriptor inherited from the parent process
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';
require __DIR__ . '/../inc/child.inc';

$listener = stream_socket_server('tcp://127.0.0.1:0');
$code = <<<'PHP'
    $server = new Sprocket\Server('fd://3');
    $server->onMessage(function ($c, $m) use ($server) { $c->send("$m from the child"); $server->stop(); });
    $server->run();
    PHP;
$child = proc_open('exec ' . Child::php() . ' -r ' . escapeshellarg($code), [3 => $listener], $pipes);
$client = new Client('ws://' . stream_socket_get_name($listener, false));
echo $client->open()->send('hello')->message(), "\n";
echo substr($client->closeCode(), 0, 4), "\n";
$client->sendClose(1001);
var_dump(proc_close($child));
--EXPECT--
hello from the child
1001
int(0)
