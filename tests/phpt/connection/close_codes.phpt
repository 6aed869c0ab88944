--TEST--
close() accepts the codes that an application may send, and refuses all others
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onMessage(function ($c, $code) { $c->close((int) $code, 'reason'); });
$server->start();
$client = Client::of($server)->open();
pump($server, fn () => count($server) === 1);
$c = current($server->connections());
foreach ([-1, 0, 1, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65536 + 1000, PHP_INT_MAX] as $code) {
    $e = thrown(fn () => $c->close($code), (string) $code);
    echo $e === 'ValueError' && $c->isOpen() ? '' : "$code: $e\n";
}
foreach ([1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999] as $code) {
    $got = Client::of($server)->open()->send("$code")->closeCode();
    echo $got === "$code reason" ? '' : "$code: $got\n";
}
echo "done\n";
--EXPECT--
done
