<?php

/**
 * WAMP version 1, and the push integration: the application's own loop, sockets and timers.
 */

require __DIR__ . '/support/harness.php';

needs('wamp');

function session(ServerProcess $server): array
{
    $client = Client::open($server->port, '/', ['Sec-WebSocket-Protocol' => 'wamp']);
    $welcome = json_decode($client->nextText(), true);
    same([0, 1, 'Ratchet/0.4.4'], [$welcome[0], $welcome[2], $welcome[3]]);

    return [$client, $welcome[1]];
}

function call(Client $client, array $message): void
{
    $client->text(json_encode($message));
}

function event(Client $client): array
{
    return json_decode($client->nextText(), true);
}

foreach (['own', 'given'] as $kind) {
    check("push integration ($kind loop): a feed, timers and WebSockets in one loop", function () use ($kind) {
        $server = new ServerProcess('push', [$kind]);
        $feed = new Client($server->wait('feed')[1]);
        [$client] = session($server);
        call($client, [5, 'kittens']);
        same(['subscribe', 'kittens', 1], $server->wait('subscribe'));
        $feed->write(json_encode(['category' => 'kittens', 'title' => 'Meow']));
        same([8, 'kittens', ['category' => 'kittens', 'title' => 'Meow']], event($client));
        $server->wait('ticks', 3);
        $server->signal(SIGTERM);
        $server->wait('stopping');
        $server->wait('stopped');
        that($server->diesWithin(5), 'the process ends');
        same(0, $server->exitCode, "exit status; stderr {$server->stderr}");
    });
}

$server = new ServerProcess('push', ['given']);

check('without the subprotocol: 426', function () use ($server) {
    $client = new Client($server->port);
    $client->write(Client::request());
    same('426', substr($client->head(), 9, 3));
});

check('calls: a result, an error, parameters as a list or one by one', function () use ($server) {
    [$client] = session($server);
    call($client, [2, 'id1', 'urn:sum', 1, 2, 3]);
    same([3, 'id1', ['sum' => 6]], event($client));
    call($client, [2, 'id2', 'urn:sum', [4, 5]]);
    same([3, 'id2', ['sum' => 9]], event($client));
    call($client, [2, 'id3', 'urn:none', 'x']);
    same([4, 'id3', 'urn:none', 'no such procedure', ['params' => ['x']]], event($client));
});

check('publish: to all, without me, only to some', function () use ($server) {
    [$ann, $annId] = session($server);
    [$bob, $bobId] = session($server);
    [$cid] = session($server);
    foreach ([$ann, $bob, $cid] as $client) {
        call($client, [5, 'news']);
        $server->wait('subscribe');
    }
    call($ann, [7, 'news', 'to all']);
    foreach ([$ann, $bob, $cid] as $client) {
        same([8, 'news', 'to all'], event($client));
    }
    call($ann, [7, 'news', 'not to me', true]);
    same([8, 'news', 'not to me'], event($bob));
    same([8, 'news', 'not to me'], event($cid));
    call($ann, [7, 'news', 'not to two', [$annId, $bobId]]);
    same([8, 'news', 'not to two'], event($cid));
    call($ann, [7, 'news', 'only to bob', false, [$bobId]]);
    same([8, 'news', 'only to bob'], event($bob));
    call($ann, [7, 'news', 'last']);
    foreach ([$ann, $bob, $cid] as $client) {
        same([8, 'news', 'last'], event($client), 'nothing else in between');
    }
});

check('publish between two sends keeps its place', function () use ($server) {
    [$client] = session($server);
    call($client, [5, 'order']);
    $server->wait('subscribe');
    for ($i = 0; $i < 50; $i++) {
        call($client, [7, 'order', 'ordered']);
    }
    for ($i = 0; $i < 50; $i++) {
        same(['before', 'ordered', 'after'], [event($client)[2], event($client)[2], event($client)[2]]);
    }
});

check('a broadcast is one call into the native server', function () use ($server) {
    if (original()) {
        return;
    }
    $clients = [];
    for ($i = 0; $i < 5; $i++) {
        [$clients[$i]] = session($server);
        call($clients[$i], [5, 'native']);
        $server->wait('subscribe');
    }
    call($clients[0], [2, 'a', 'urn:published']);
    $before = event($clients[0])[2][0];
    call($clients[0], [7, 'native', 'one', true]);
    call($clients[0], [7, 'native', 'two']);
    foreach (array_slice($clients, 1) as $client) {
        same(['one', 'two'], [event($client)[2], event($client)[2]]);
    }
    same('two', event($clients[0])[2]);
    call($clients[0], [2, 'b', 'urn:published']);
    same($before + 2, event($clients[0])[2][0]);
});

check('prefixes of the client; unsubscribing; leaving', function () {
    $server = new ServerProcess('push', ['given']);
    [$client] = session($server);
    call($client, [1, 'ex', 'http://example.com/topics']);
    call($client, [5, 'ex:cats']);
    same(['subscribe', 'http://example.com/topics#cats', 1], $server->wait('subscribe'));
    [$other] = session($server);
    call($other, [5, 'http://example.com/topics#cats']);
    same(2, $server->wait('subscribe')[2]);
    call($client, [6, 'ex:cats']);
    same(['unsubscribe', 'http://example.com/topics#cats', 1], $server->wait('unsubscribe'));
    call($other, [7, 'http://example.com/topics#cats', 'meow']);
    same([8, 'http://example.com/topics#cats', 'meow'], event($other));
    $other->close();
    $server->wait('close');
    call($client, [5, 'http://example.com/topics#cats']);
    same(1, $server->wait('subscribe')[2]);
});

foreach (['no json' => 'hello', 'an object' => '{"a":1}', 'no such type' => '[99]', 'a list as topic' => '[5,["a"]]', 'nothing' => '[]'] as $what => $message) {
    check("a malformed message ($what) closes with 1007", function () use ($server, $message) {
        [$client] = session($server);
        $client->text($message);
        $frame = $client->next();
        same([8, 1007], [$frame[0], unpack('n', $frame[1])[1]]);
    });
}

finish();
