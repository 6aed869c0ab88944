--TEST--
A fatal error inside a method, such as an exceeded memory_limit, ends the script with that error alone
--DESCRIPTION--
A fatal error jumps over the extension's own frames (for memory_limit, only in versions of PHP up to
8.2). It must leave no RefCell borrowed, because shutdown functions still call the server. The sockets
must be closed, and nothing may be freed twice.
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';
require __DIR__ . '/../inc/child.inc';

const MEMORY_LIMIT = [
    'the callback' => 'str_repeat("x", 1000)',
    'stats()' => '$server->stats()',
    'connections()' => '$server->connections()',
    'addresses()' => '$server->addresses()',
    'presence()' => '$server->presence("room")',
    'topics()' => '$c->topics()',
    'headers()' => '$c->request->headers()',
    'cookies()' => '$c->request->cookies()',
    'query()' => '$c->request->query()',
    'Options' => 'new Sprocket\Options(origins: ["https://example.com"], subprotocols: ["a", "b"])',
    'Response' => 'new Sprocket\Response(200, str_repeat("x", 1000), ["X-A" => ["b", "c"]])',
    'the exception' => 'thrown(fn () => new Sprocket\Options(pingInterval: -1.0))',
    'after()' => '$server->after(1000.0, fn () => 1)',
    'the payload' => 'str_repeat("x", 20)',
];
/** Code that a method runs in PHP: conversions of arguments, and destructors of released values. */
const OTHER = [
    'send()' => '$c->send(new Fatal)',
    'close()' => '$c->close(1000, new Fatal)',
    'subscribe()' => '$c->subscribe("three", new Fatal)',
    'join()' => '$c->join("room", "me", new Fatal)',
    'publish()' => '$server->publish("one", new Fatal)',
    'header()' => '$c->request->header(new Fatal)',
    'onPong()' => '$server->onPong([new Fatal, "__toString"]) && $server->onPong(null)',
    'cancel()' => '$server->cancel($server->after(9.0, [new Fatal, "__toString"]))',
];

foreach (MEMORY_LIMIT + OTHER as $place => $expression) {
    $child = Child::code(<<<PHP
        ini_set('memory_limit', '12M');
        class Fatal {
            function __toString(): string { \$this->__destruct(); }
            function __destruct() { eval('class Twice {} class Twice {}'); }
        }
        function thrown(\$f) { try { \$f(); } catch (Throwable \$e) { return \$e; } }
        \$options = new Sprocket\Options(maxMessageSize: 1 << 25);
        \$server = new Sprocket\Server('ws://127.0.0.1:0', \$options);
        \$kept = [];
        \$server->onOpen(function (\$c) { \$c->join('room', 'me'); \$c->subscribe('one', 'two'); });
        \$server->onMessage(function (\$c) use (\$server, &\$kept) {
            while (true) {
                \$kept[] = $expression;
            }
        });
        register_shutdown_function(function () use (\$server, &\$kept) {
            \$kept = null;
            ini_set('memory_limit', '-1');
            foreach (\$server->connections() as \$c) {
                \$c->send('late');
                \$c->topics();
                \$c->request->headers();
                \$c->close();
            }
            \$server->presence('room');
            \$server->after(1.0, fn () => 1);
            \$server->stop();
            \$server->stats();
            echo "shutdown\\n";
        });
        \$server->start();
        echo \$server->addresses()[0], "\\n";
        \$server->run();
        PHP);
    $client = new Client($child->line('/^ws:/'));
    $client->open(['Cookie' => 'a=1; b=2'], '/?x[]=1&y=2');
    try {
        $client->frame(Client::BINARY, str_repeat("\xff", $place === 'the payload' ? 14 << 20 : 10));
    } catch (RuntimeException) {
        // The server may have ended before the whole payload was written.
    }
    $status = $child->wait();
    $client->ended();
    preg_match_all('/Allowed memory size|Cannot declare|shutdown|Sprocket failed|borrow|corrupted|double free/', $child->output, $said);
    echo "$place: $status ", implode(', ', $said[0]), "\n";
}
--EXPECT--
the callback: 255 Allowed memory size, shutdown
stats(): 255 Allowed memory size, shutdown
connections(): 255 Allowed memory size, shutdown
addresses(): 255 Allowed memory size, shutdown
presence(): 255 Allowed memory size, shutdown
topics(): 255 Allowed memory size, shutdown
headers(): 255 Allowed memory size, shutdown
cookies(): 255 Allowed memory size, shutdown
query(): 255 Allowed memory size, shutdown
Options: 255 Allowed memory size, shutdown
Response: 255 Allowed memory size, shutdown
the exception: 255 Allowed memory size, shutdown
after(): 255 Allowed memory size, shutdown
the payload: 255 Allowed memory size, shutdown
send(): 255 Cannot declare, shutdown
close(): 255 Cannot declare, shutdown
subscribe(): 255 Cannot declare, shutdown
join(): 255 Cannot declare, shutdown
publish(): 255 Cannot declare, shutdown
header(): 255 Cannot declare, shutdown
onPong(): 255 Cannot declare, shutdown
cancel(): 255 Cannot declare, shutdown
