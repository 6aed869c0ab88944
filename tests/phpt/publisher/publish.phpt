--TEST--
A publisher reaches the subscribers of topics and patterns while the server's PHP code is busy
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$path = sys_get_temp_dir() . '/sprocket-publish-' . getmypid() . '.sock';
$server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(publishSocket: "unix://$path"));
$server->onOpen(fn ($c) => $c->subscribePattern(...explode(',', substr($c->request->target(), 1))));
$server->start();
printf("%o %s\n", fileperms($path) & 0777, json_encode(array_map(fn ($a) => strtok($a, ':'), $server->addresses())));
$clients = [Client::of($server)->open(target: '/room.1'), Client::of($server)->open(target: '/room.*,room.1'), Client::of($server)->open(target: '/room.2')];
pump($server, fn () => count($server) === 3);

$publisher = new Sprocket\Publisher("unix://$path");
// Both objects share one connection.
$other = new Sprocket\Publisher(address: "unix://$path", timeout: 5);
for ($i = 0; $i < 50; $i++) {
    ($i % 2 ? $publisher : $other)->publish('room.1', "größer $i");
}
$publisher->publish('room.2', "\xff\0", binary: true);
$publisher->publish('nobody', 'x');
$publisher->publish('room.2', '');
$publisher->publish('room.2', 5);
foreach ([0, 1] as $n) {
    for ($i = 0; $i < 50; $i++) {
        if (($got = $clients[$n]->message()) !== "größer $i") {
            echo "client $n got $got, not $i\n";
        }
    }
}
$frame = $clients[2]->read();
echo $frame->opcode, ' ', bin2hex($frame->payload), ' ', json_encode($clients[2]->message()), ' ', $clients[2]->message(), "\n";
$stats = $server->stats();
echo $stats['published'], ' ', $stats['socketPublished'], ' ', $stats['socketRefused'], ' ', $stats['publishers'], "\n";
halt($server);
var_dump(file_exists($path));
--EXPECT--
600 ["ws"]
2 ff00 "" 5
54 54 0 1
bool(false)
