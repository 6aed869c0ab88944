--TEST--
A publication too large for the hub is refused, and the exception says whether any subscriber got it
--EXTENSIONS--
sprocket
--INI--
memory_limit=256M
--FILE--
<?php
use Sprocket\{History, Options, PublishException, Server};

$server = new Server('ws://127.0.0.1:0', new Options(history: ['log' => new History()]));
$server->start();
$text = str_repeat('x', 64 << 20);
foreach (['news', 'log'] as $topic) {
    try {
        $server->publish($topic, $text);
    } catch (PublishException $e) {
        echo json_encode($e->uncertain), ' ', $e->getMessage(), "\n";
    }
}
try {
    $server->broadcast($text);
} catch (PublishException $e) {
    echo json_encode($e->uncertain), ' ', $e->getMessage(), "\n";
}
--EXPECT--
true The publications that wait for the other workers would exceed 67108864 bytes; the message was delivered on this worker only
false The publications that wait for the other workers would exceed 67108864 bytes; the message was delivered to nobody
true The publications that wait for the other workers would exceed 67108864 bytes; the message was delivered on this worker only
