--TEST--
Several servers can share one Options object, and outlive it
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$options = new Sprocket\Options(maxMessageSize: 3);
$servers = [new Sprocket\Server('ws://127.0.0.1:0', $options), new Sprocket\Server('ws://127.0.0.1:0', $options)];
unset($options);
foreach ($servers as $server) {
    $server->start();
    echo substr(Client::of($server)->open()->send('four')->closeCode(), 0, 4), "\n";
}
--EXPECT--
1009
1009
