--TEST--
The property data holds any value, and can be modified in place
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->start();
$client = Client::of($server)->open();
pump($server, fn () => count($server) === 1);
$connection = current($server->connections());
var_dump($connection->data);
$connection->data['list'][] = 1;
$connection->data['list'][] = 2;
$alias = &$connection->data['list'][1];
$alias = 3;
echo json_encode($connection->data), "\n";
foreach ([1.5, 'text', true, null, new ArrayObject([1]), fopen('php://memory', 'r')] as $value) {
    $connection->data = $value;
    echo $connection->data === $value ? '' : "changed\n";
}
var_dump(isset($connection->data));
unset($value);
--EXPECT--
NULL
{"list":[1,3]}
bool(true)
