--TEST--
Without onRequest a plain request gets a 426, except on healthPath
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(healthPath: '/healthz'));
$server->start();
foreach (['/', '/healthz', '/healthz?x=1', '/healthz/x'] as $target) {
    $r = Client::of($server)->raw("GET $target HTTP/1.1\r\nHost: localhost\r\n\r\n")->response();
    echo "$target $r->status ", $r->headers['sec-websocket-version'] ?? '', ' ', $r->headers['upgrade'] ?? '', "\n";
}
--EXPECT--
/ 426 13 websocket
/healthz 200  
/healthz?x=1 200  
/healthz/x 426 13 websocket
