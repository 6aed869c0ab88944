--TEST--
The server survives an exception in any callback
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

require __DIR__ . '/../inc/callbacks.inc';

foreach (EVERY_CALLBACK as $callback) {
    $child = every_callback($callback, 'echo "in the callback\n"; throw new Exception("from the callback");', <<<'PHP'
        $server->onUpgrade(null);
        $server->onRequest(fn () => new Sprocket\Response(200, 'alive'));
        PHP);
    $address = $child->line('/^ws:/');
    $client = provoke($callback, $address);
    $child->line('/in the callback/');
    if ($callback !== 'onRequest') {
        $r = (new Client($address))->raw("GET /alive HTTP/1.1\r\nHost: localhost\r\n\r\n")->response();
    } else {
        $r = (new Client($address))->open()->head;
    }
    $child->signal(15);
    $status = $child->wait();
    preg_match_all('/Warning: .*from the callback|not caught|Fatal.*/', $child->output, $said);
    echo "$callback: $r->status $status ", $said[0] ? 'warned' : $child->output, "\n";
}
--EXPECT--
onUpgrade: 200 0 warned
onOpen: 200 0 warned
onMessage: 200 0 warned
onClose: 200 0 warned
onDrain: 200 0 warned
onPong: 200 0 warned
onRequest: 101 0 warned
onError: 200 0 warned
timer: 200 0 warned
