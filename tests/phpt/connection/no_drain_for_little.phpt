--TEST--
onDrain does not run for small messages that the kernel takes at once
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onDrain(function () { echo "onDrain\n"; });
$server->onMessage(fn ($c, $m) => $c->send($m));
$server->start();
$client = Client::of($server)->open();
for ($i = 0; $i < 50; $i++) {
    $client->send("$i")->message();
}
$client->close();
echo "done\n";
--EXPECT--
done
