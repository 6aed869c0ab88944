--TEST--
The request target and the Host header are validated, and an absolute target overrides Host
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onRequest(fn ($r) => new Sprocket\Response(200, "{$r->target()} {$r->path()} {$r->header('host')}"));
$server->start();
foreach ([
    ['/a?b=c', 'h:8080'], ['//evil/x', 'h'], ['http://other:81/abs?q=1', 'h'], ['http://other', 'h'], ['http://other?q', 'h'],
    ['ws://[::1]:1/x', 'h'], ['/x[]|{}', 'h'], ['/', ''], ['/', 'h.'], ['/', '[::1]:80'],
    ['a', 'h'], ['a:443', 'h'], ['*', 'h'], ['?x=1', 'h'], ['/a#b', 'h'], ['http://other#b', 'h'], ['http://u:p@other/x', 'h'], ['ftp://other/', 'h'], ['http://other:99999/', 'h'],
    ['/', 'a b'], ['/', 'a/b'], ['/', 'u@a'], ['/', 'a:b'], ['/', '[::1'], ['/', 'a:65536'], ['/', "caf\u{e9}"], ['http://other/', 'a b'],
] as [$target, $host]) {
    $r = Client::of($server)->raw("GET $target HTTP/1.1\r\nHost: $host\r\n\r\n")->response();
    echo "$target ($host): $r->status ", trim($r->body), "\n";
}
--EXPECTF--
/a?b=c (h:8080): 200 /a?b=c /a h:8080
//evil/x (h): 200 //evil/x //evil/x h
http://other:81/abs?q=1 (h): 200 /abs?q=1 /abs other:81
http://other (h): 200 / / other
http://other?q (h): 200 /?q / other
ws://[::1]:1/x (h): 200 /x /x [::1]:1
/x[]|{} (h): 200 /x[]|{} /x[]|{} h
/ (): 200 / /
/ (h.): 200 / / h.
/ ([::1]:80): 200 / / [::1]:80
a (h): 400 The request target must be a path or an absolute http URI.
a:443 (h): 400 The request target must be a path or an absolute http URI.
* (h): 400 The request target must be a path or an absolute http URI.
?x=1 (h): 400 %s
/a#b (h): 400 This is not a well-formed HTTP/1.1 request.
http://other#b (h): 400 This is not a well-formed HTTP/1.1 request.
http://u:p@other/x (h): 400 The host that the request names is malformed.
ftp://other/ (h): 400 The scheme of the request target must be http, https, ws or wss.
http://other:99999/ (h): 400 %s
/ (a b): 400 The Host header is malformed.
/ (a/b): 400 The Host header is malformed.
/ (u@a): 400 The Host header is malformed.
/ (a:b): 400 The Host header is malformed.
/ ([::1): 400 The Host header is malformed.
/ (a:65536): 400 The Host header is malformed.
/ (café): 400 The Host header is malformed.
http://other/ (a b): 400 The Host header is malformed.
