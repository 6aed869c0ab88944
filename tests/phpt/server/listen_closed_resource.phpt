--TEST--
A stream that is closed or not listening is refused
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$closed = stream_socket_server('tcp://127.0.0.1:0');
fclose($closed);
echo in_array(thrown(fn () => new Sprocket\Server($closed)), ['Sprocket\InvalidOption', 'TypeError']) ? "refused\n" : "accepted\n";

foreach ([STDIN, fopen('php://memory', 'r'), stream_context_create()] as $stream) {
    $e = thrown(fn () => (new Sprocket\Server($stream))->start());
    echo in_array($e, ['Sprocket\InvalidOption', 'Sprocket\BindException', 'TypeError']) ? "refused\n" : "$e\n";
}
--EXPECT--
refused
refused
refused
refused
