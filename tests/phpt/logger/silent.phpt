--TEST--
Without a logger the server writes no log
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/child.inc';
require __DIR__ . '/../inc/client.inc';

$child = Child::code(<<<'PHP'
    $server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(maxMessageSize: 4));
    $server->onMessage(fn () => $server->stop(0.1));
    $server->start();
    echo $server->addresses()[0], "\n";
    $server->run();
    PHP);
$address = $child->line('~^ws://~');
$client = new Client($address);
$client->raw($client->upgradeRequest(['Origin' => 'https://evil.example']))->response();
(new Client($address))->raw("nonsense\r\n\r\n")->ended();
(new Client($address))->open()->send('12345')->closeCode();
(new Client($address))->open()->send('stop');
echo $child->wait(), ' ', trim($child->output) === $address ? 'silent' : $child->output, "\n";
--EXPECT--
0 silent
