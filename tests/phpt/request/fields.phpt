--TEST--
A request has its method, target, path and query
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onRequest(function (Sprocket\Request $r) {
    return new Sprocket\Response(200, json_encode([
        $r->method(), $r->target(), $r->path(), $r->queryString(), $r->query(), $r->scheme(), $r->isSecure(), $r->subprotocols(),
    ], JSON_UNESCAPED_SLASHES));
});
$server->start();
foreach (['/', '/caf%C3%A9?room=1&x[]=a+b&x[]=%26&flag', '/?', '/a/../b;c=1?a=1?b=2', '//double', '/?a.b=1&a%20c=2'] as $target) {
    echo Client::of($server)->raw("PUT $target HTTP/1.1\r\nHost: localhost\r\n\r\n")->response()->body, "\n";
}
--EXPECT--
["PUT","/","/","",[],"http",false,[]]
["PUT","/caf%C3%A9?room=1&x[]=a+b&x[]=%26&flag","/caf%C3%A9","room=1&x[]=a+b&x[]=%26&flag",{"room":"1","x":["a b","&"],"flag":""},"http",false,[]]
["PUT","/?","/","",[],"http",false,[]]
["PUT","/a/../b;c=1?a=1?b=2","/a/../b;c=1","a=1?b=2",{"a":"1?b=2"},"http",false,[]]
["PUT","//double","//double","",[],"http",false,[]]
["PUT","/?a.b=1&a%20c=2","/","a.b=1&a%20c=2",{"a_b":"1","a_c":"2"},"http",false,[]]
