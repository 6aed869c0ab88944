--TEST--
For an HTTP/1.0 client the body ends with the connection
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/stream.inc';

$server = streaming($streams);
$client = ask($server, version: '1.0');
pump($server, function () use (&$streams): bool { return $streams !== []; });
$streams[0]->write('some');
$streams[0]->end('thing');
$client->ended();
[$head, $body] = explode("\r\n\r\n", $client->buffer);
var_dump($body, str_contains($head, 'chunked'));
--EXPECT--
string(9) "something"
bool(false)
