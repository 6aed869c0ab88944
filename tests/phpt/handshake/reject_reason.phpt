--TEST--
reject() without a body sends the reason phrase of any status, and header names are capitalized
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$status = 0;
$server->onUpgrade(function ($h) use (&$status) {
    $h->reject($status, headers: ['X-Tried' => 'yes', 'Sec-WebSocket-Protocol' => 'soap, chat']);
});
$server->start();
foreach ([303, 402, 405, 406, 409, 410, 413, 415, 418, 421, 422, 426, 428, 431, 451, 499, 501, 502, 504, 511, 599] as $status) {
    $client = Client::of($server);
    $r = $client->raw($client->upgradeRequest())->response();
    echo "$r->status $r->body {$r->headers['sec-websocket-protocol']}\n";
}
$client = Client::of($server);
$head = $client->raw($client->upgradeRequest())->ended()->buffer;
echo preg_match('/^X-Tried: yes\r$.*^Content-Length: /ms', $head) ? 'capitals' : $head, "\n";
--EXPECT--
303 See Other soap, chat
402 Payment Required soap, chat
405 Method Not Allowed soap, chat
406 Not Acceptable soap, chat
409 Conflict soap, chat
410 Gone soap, chat
413 Content Too Large soap, chat
415 Unsupported Media Type soap, chat
418 I'm a teapot soap, chat
421 Misdirected Request soap, chat
422 Unprocessable Content soap, chat
426 Upgrade Required soap, chat
428 Precondition Required soap, chat
431 Request Header Fields Too Large soap, chat
451 Unavailable For Legal Reasons soap, chat
499 Bad Request soap, chat
501 Not Implemented soap, chat
502 Bad Gateway soap, chat
504 Gateway Timeout soap, chat
511 Network Authentication Required soap, chat
599 Internal Server Error soap, chat
capitals
