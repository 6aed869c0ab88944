<?php

/**
 * Stacks of components as applications build them: gates, decorators, plain HTTP, routers.
 */

require __DIR__ . '/support/harness.php';

needs('stacks', ['symfony-routing' => 'Symfony/Component/Routing']);

function exchange(int $port, string $request): array
{
    $client = new Client($port);
    $client->write($request);

    return $client->response();
}

check('a component refuses with its own status, headers and body', function () {
    $server = new ServerProcess('stacks', ['gate']);
    [$status, $head, $body] = exchange($server->port, Client::request());
    same([401, 'Who are you?'], [$status, $body]);
    that(stripos($head, 'X-Why: no user') !== false, 'its header');
    same(0, $server->count('open'));
});

check('a component lets in and leaves a property that the application sees', function () {
    $server = new ServerProcess('stacks', ['gate']);
    $client = Client::open($server->port, '/?a=1', ['Cookie' => 'x=y; user=ann']);
    same(['open', 'a=1', 'ann'], $server->wait('open'));
    $client->text('hi');
    same('echo hi', $client->nextText());
    $client->close();
    same(['close', 'ann'], $server->wait('close'));
});

check('a component decides later', function () {
    $server = new ServerProcess('stacks', ['slow']);
    $client = Client::open($server->port);
    $client->text('hi');
    same('echo hi', $client->nextText());
    same([402, 'pay'], array_values(array_diff_key(exchange($server->port, Client::request('/no')), [1 => 0])));
});

check('a client that leaves before the decision: onClose for the outer components, nothing breaks', function () {
    $server = new ServerProcess('stacks', ['slow']);
    $client = new Client($server->port);
    $client->write(Client::request());
    usleep(50000);
    $client->reset();
    $other = Client::open($server->port);
    $other->text('hi');
    same('echo hi', $other->nextText());
    $other->close();
    $server->wait('close');
    that($server->isRunning(), 'server lives');
});

check('decorators around HttpServer and WsServer see open, messages, close and errors', function () {
    $server = new ServerProcess('stacks', ['layers']);
    $client = Client::open($server->port, '/x');
    same(['decorator-open', 'outer', true], $server->wait('decorator-open'));
    same(['decorator-open', 'inner', false], $server->wait('decorator-open'));
    same(['decorator-message', 'outer', 'GET /x HTTP/1.1'], $server->wait('decorator-message'));
    $client->text('hello');
    same('echo hello', $client->nextText());
    same(['outer', 'inner'], [$server->wait('decorator-message')[1], $server->wait('decorator-message')[1]]);
    $client->text('throw');
    same(['decorator-error', 'outer', 'from the application'], $server->wait('decorator-error'));
    same('inner', $server->wait('decorator-error')[1]);
    $server->wait('error');
    $server->wait('close');
    same(['outer', 'inner'], [$server->wait('decorator-close')[1], $server->wait('decorator-close')[1]]);
    same(0, $server->count('decorator-close'));
});

check('IpBlackList keeps a blocked peer from the components within', function () {
    $server = new ServerProcess('stacks', ['black']);
    $client = new Client($server->port);
    $client->write(Client::request());
    that(!str_contains($client->head(3), ' 101 '), 'not accepted');
    same(0, $server->count('open') + $server->count('close'));
});

check('IpBlackList lets the others in', function () {
    $server = new ServerProcess('stacks', ['white']);
    $client = Client::open($server->port);
    $client->text('hi');
    same('echo hi', $client->nextText());
});

check('a component that refuses and hands on all the same', function () {
    $server = new ServerProcess('stacks', ['careless']);
    same(403, exchange($server->port, Client::request())[0]);
    same(0, $server->count('error'));
    that($server->isRunning(), 'server lives');
});

foreach (['meter' => 'a component with a connection of its own', 'foreign' => 'the same, later, with a class of its own'] as $kind => $name) check("$name sees what is sent", function () use ($kind) {
    $server = new ServerProcess('stacks', [$kind]);
    $client = Client::open($server->port);
    $client->text('hello');
    same('echo hello', $client->nextText());
    $sizes = [];
    while ($server->count('metered') > 0) {
        $sizes[] = $server->wait('metered')[1];
    }
    // A header of two bytes, and the payload.
    that(in_array(12, $sizes, true), 'frame seen: ' . show($sizes));
    $client->close();
    $server->wait('close');
});

check('a plain request is answered on the same port, with its body', function () {
    $server = new ServerProcess('stacks', ['page']);
    $port = $server->port;
    [$status, $head, $body] = exchange($port, "POST /form HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\na=b&c");
    same([201, 'POST a=b&c'], [$status, $body]);
    that(stripos($head, 'X-Path: /form') !== false && stripos($head, 'Content-Type: text/x-test') !== false, $head);
    $server->wait('page-close');
    [$status, , $body] = exchange($port, "GET /chunked HTTP/1.1\r\nHost: localhost\r\n\r\n");
    same([200, true], [$status, str_contains($body, 'abc')]);
});

check('a plain request whose component throws', function () {
    $server = new ServerProcess('stacks', ['page']);
    [$status] = exchange($server->port, "GET /boom HTTP/1.1\r\nHost: localhost\r\n\r\n");
    that(in_array($status, [500, 0], true), "status $status");
    same(['error', 'page failed'], $server->wait('error'));
    that($server->isRunning(), 'server lives');
});

check('a plain request that is answered later', function () {
    $server = new ServerProcess('stacks', ['page']);
    [$status, , $body] = exchange($server->port, "GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n");
    same([201, 'GET '], [$status, $body]);
});

check('a page in answer to a handshake', function () {
    $server = new ServerProcess('stacks', ['page']);
    [$status, , $body] = exchange($server->port, Client::request('/form'));
    same([201, 'GET '], [$status, $body]);
});

check('Router: parameters in the query, those of the client win; classes; pages', function () {
    $server = new ServerProcess('stacks', ['routes']);
    Client::open($server->port, '/room/blue?x=1');
    same('name=blue&x=1', $server->wait('open')[1]);
    Client::open($server->port, '/room/blue?name=red');
    same('name=red', $server->wait('open')[1]);
    Client::open($server->port, '/class');
    $second = Client::open($server->port, '/class');
    same(2, $server->count('instantiated'));
    $second->text('hi');
    same('echo hi', $second->nextText());
    [$status] = exchange($server->port, "GET /index.html HTTP/1.1\r\nHost: localhost\r\n\r\n");
    same(201, $status);
});

check('a subclass of WsServer gets pongs and closes as control frames', function () {
    $server = new ServerProcess('stacks', ['watch']);
    $client = Client::open($server->port);
    same([9, 'p1', true], $client->next());
    $client->write(Client::frame(10, 'p1'));
    same(['control', 10, 'p1', 1], $server->wait('control'));
    $client->write(Client::frame(8, "\x03\xe9gone"));
    same(['control', 8, "\u{3}\u{fffd}gone"], array_slice($server->wait('control'), 0, 3));
    $server->wait('close');
});

check('a stack that hides its HttpServer is framed in PHP', function () {
    $server = new ServerProcess('stacks', ['hidden']);
    $client = Client::open($server->port, '/?q=1');
    same('q=1', $server->wait('open')[1]);
    $client->write(Client::frame(1, 'frag', false) . Client::frame(9, 'ping') . Client::frame(0, 'mented'));
    same([10, 'ping', true], $client->next());
    same('echo fragmented', $client->nextText());
    $client->write(Client::frame(8, "\x03\xe8bye"));
    same([8, "\x03\xe8bye", true], $client->next());
    $server->wait('close');
    [$status] = exchange($server->port, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    same(426, $status);
});

foreach (['white' => 'the native server', 'hidden' => 'React'] as $kind => $name) {
    if (original()) {
        continue;
    }
    check("a connection of $name knows the addresses and ports of both ends", function () use ($kind) {
        $server = new ServerProcess('stacks', [$kind]);
        $client = Client::open($server->port);
        $client->text('where');
        $port = parse_url('tcp://' . stream_socket_get_name($client->socket, false), PHP_URL_PORT);
        same("127.0.0.1 $port 127.0.0.1 $server->port", $client->nextText());
    });
}

check("a component's own reason phrase is the body of a refusal without one", function () {
    $server = new ServerProcess('stacks', ['phrase']);
    foreach ([Client::request(), "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"] as $request) {
        [$status, , $body] = exchange($server->port, $request);
        same([403, original() ? '' : 'Your account is locked'], [$status, $body]);
    }
    [$status, , $body] = exchange($server->port, Client::request('/gone'));
    same([410, original() ? '' : 'Gone'], [$status, $body]);
    [$status, , $body] = exchange($server->port, "GET /gone HTTP/1.1\r\nHost: localhost\r\n\r\n");
    same([410, ''], [$status, $body]);
});

finish();
