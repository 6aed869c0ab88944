--TEST--
A Response is validated when it is created, is readonly, and can be sent more than once
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

foreach ([[199], [600], [-1], [200, '', ['X Y' => '1']], [200, '', ['X' => "a\r\nb"]], [200, '', ['Content-Length' => '1']]] as $arguments) {
    echo thrown(fn () => new Sprocket\Response(...$arguments)), "\n";
}
$response = new Sprocket\Response(404, 'nothing', ['X' => '1']);
var_dump($response->status, $response->body, $response->headers);
foreach (['status', 'body', 'headers'] as $name) {
    echo thrown(function () use ($response, $name) { $response->$name = 5; }), "\n";
}
$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onRequest(fn () => $response);
$server->start();
for ($i = 0; $i < 2; $i++) {
    echo Client::of($server)->raw("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")->response()->body, "\n";
}
--EXPECT--
ValueError
ValueError
ValueError
ValueError
ValueError
ValueError
int(404)
string(7) "nothing"
array(1) {
  ["X"]=>
  string(1) "1"
}
Error
Error
Error
nothing
nothing
