--TEST--
var_dump() shows a connection with its properties
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->start();
$client = Client::of($server)->open();
pump($server, fn () => count($server) === 1);
$c = current($server->connections());
$c->data = 'mine';
ob_start();
var_dump($c);
print_r($c);
$text = ob_get_clean();
foreach (['Sprocket\Connection', 'id', 'remoteAddress', '127.0.0.1', 'mine'] as $word) {
    echo str_contains($text, $word) ? '' : "no $word\n";
}
echo "done\n";
--EXPECT--
done
