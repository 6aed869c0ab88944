--TEST--
cookies() returns the same array as $_COOKIE, and the first cookie of a name counts
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onRequest(function (Sprocket\Request $r) {
    return new Sprocket\Response(200, json_encode($r->cookies()));
});
$server->start();
$cookies = [
    '', 'a=1', 'a=1; b=2;c=3', 'a=%C3%BC%20x', 'a=1; a=2', 'a="quoted"', 'a', 'a=', '=x', ';; a=1;', '5=x', 'a=b=c',
];
foreach ($cookies as $cookie) {
    echo $cookie, ' ', Client::of($server)->raw("GET / HTTP/1.1\r\nHost: localhost\r\nCookie: $cookie\r\n\r\n")->response()->body, "\n";
}
--EXPECTREGEX--
 \[\]
a=1 \{"a":"1"\}
a=1; b=2;c=3 \{"a":"1","b":"2","c":"3"\}
a=%C3%BC%20x \{"a":"\\u00fc x"\}
a=1; a=2 \{"a":"1"\}
a="quoted" \{"a":"(\\")?quoted(\\")?"\}
a (\[\]|\{"a":""\})
a= \{"a":""\}
=x (\[\]|\{"":"x"\})
;; a=1; \{"a":"1"\}
5=x \{"5":"x"\}
a=b=c \{"a":"b=c"\}
