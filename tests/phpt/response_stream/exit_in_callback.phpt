--TEST--
exit() in a callback of a stream closes the sockets and keeps the status
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/stream.inc';
require __DIR__ . '/../inc/child.inc';

foreach (['onDrain', 'onClose'] as $callback) {
    $child = Child::code(<<<PHP
        register_shutdown_function(function () { echo "shutdown\\n"; });
        \$server = new Sprocket\Server('ws://127.0.0.1:0');
        \$server->onRequest(function (\$r) {
            \$stream = \$r->stream();
            \$stream->$callback(function () { echo "in the callback\\n"; exit(7); });
            \$stream->write('x');
            '$callback' === 'onClose' && \$stream->end();
        });
        \$server->start();
        echo \$server->addresses()[0], "\\n";
        \$server->run();
        echo "not reached\\n";
        PHP);
    $client = new Client($child->line('/^ws:/'));
    $client->raw("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    $status = $child->wait();
    $client->ended();
    preg_match_all('/in the callback|shutdown|not reached|[Ww]arning.*|Fatal.*/', $child->output, $said);
    echo "$callback: $status ", implode(', ', $said[0]), "\n";
}
--EXPECT--
onDrain: 7 in the callback, shutdown
onClose: 7 in the callback, shutdown
