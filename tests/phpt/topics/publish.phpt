--TEST--
publish() reaches each subscriber of a topic once, and no other connection
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onMessage(function ($c, $m) { $c->subscribe(...explode(' ', $m)); $c->send('subscribed'); });
$server->start();
foreach (['news', 'news sport', 'sport'] as $topics) {
    $clients[$topics] = Client::of($server)->open()->send($topics);
    $clients[$topics]->message();
}
$server->publish('news', 'from news');
$server->publish('sport', "\0\xff", true);
$server->publish('nobody', 'is here');
$server->broadcast('to all');
foreach ($clients as $topics => $client) {
    echo $topics, ':';
    do {
        $message = $client->message();
        echo ' ', $message === "\0\xff" ? '00ff' : $message, ',';
    } while ($message !== 'to all');
    echo "\n";
}
--EXPECT--
news: from news, to all,
news sport: from news, 00ff, to all,
sport: 00ff, to all,
