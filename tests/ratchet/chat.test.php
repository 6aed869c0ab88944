<?php

/**
 * The chats of Ratchet's documentation: over WebSocket, with App, and over raw TCP for telnet.
 */

require __DIR__ . '/support/harness.php';

needs('chat', ['symfony-routing' => 'Symfony/Component/Routing']);

foreach (['web', 'factory'] as $kind) {
    check("chat ($kind): everybody else gets the message", function () use ($kind) {
        $server = new ServerProcess('chat', [$kind]);
        $ann = Client::open($server->port);
        $bob = Client::open($server->port);
        $cid = Client::open($server->port);
        $ids = array_map(fn () => $server->wait('open')[1], [1, 2, 3]);
        same(3, count(array_unique($ids)), 'resource ids');
        $ann->text('hello');
        same(['hello', 'hello'], [$bob->nextText(), $cid->nextText()]);
        $bob->close();
        same(['close', true], $server->wait('close'));
        $cid->text('still here');
        same('still here', $ann->nextText());
    });
}

check('App: several routes, each with its application', function () {
    $server = new ServerProcess('chat', ['app']);
    $echo = Client::open($server->port, '/echo');
    $echo->text('to myself');
    same('to myself', $echo->nextText());
    $ann = Client::open($server->port, '/chat');
    $bob = Client::open($server->port, '/chat');
    $server->wait('open');
    $server->wait('open');
    $bob->text('hi ann');
    same('hi ann', $ann->nextText());
});

check('two Apps on one machine do not get into each other\'s way', function () {
    if (original()) {
        return;
    }
    $one = new ServerProcess('chat', ['app']);
    $two = new ServerProcess('chat', ['app']);
    Client::open($one->port, '/chat');
    Client::open($two->port, '/chat');
});

check('telnet chat: raw TCP under IoServer', function () {
    $server = new ServerProcess('chat', ['telnet']);
    $ann = new Client($server->port);
    $bob = new Client($server->port);
    same('127.0.0.1', $server->wait('open')[2]);
    $server->wait('open');
    $ann->write("hello\r\n");
    same("hello\r\n", fread($bob->socket, 100));
    $ann->close();
    same(['close', true], $server->wait('close'));
});

finish();
