--TEST--
Header names are lower-case, repeated headers are joined, and non-ASCII bytes are kept
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onRequest(function (Sprocket\Request $r) {
    var_dump($r->header('HOST'), $r->header('x-many'), $r->header('X-None'), $r->header('x-empty'), bin2hex($r->header('x-bytes')), $r->header(''));
    echo json_encode(array_diff_key($r->headers(), ['x-bytes' => 1])), "\n";
    return new Sprocket\Response();
});
$server->start();
Client::of($server)->raw("GET / HTTP/1.1\r\nHost: localhost\r\nX-Many: 1\r\nx-many:2  \r\nX-Empty:\r\nX-Bytes: a\xe9\xff\r\nCookie: a=1\r\nCookie: b=2\r\n\r\n")->response();
--EXPECT--
string(9) "localhost"
string(4) "1, 2"
NULL
string(0) ""
string(6) "61e9ff"
NULL
{"host":"localhost","x-many":"1, 2","x-empty":"","cookie":"a=1; b=2"}
