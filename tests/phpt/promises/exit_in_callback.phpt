--TEST--
exit() in any callback closes the sockets, keeps the exit status, and runs shutdown functions
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

require __DIR__ . '/../inc/callbacks.inc';

foreach (EVERY_CALLBACK as $callback) {
    $child = every_callback($callback, 'echo "in the callback\n"; exit(7);');
    $client = provoke($callback, $child->line('/^ws:/'));
    $status = $child->wait();
    $client->ended();
    preg_match_all('/in the callback|shutdown|not reached|[Ww]arning.*|Fatal.*/', $child->output, $said);
    echo "$callback: $status ", implode(', ', $said[0]), "\n";
}
--EXPECT--
onUpgrade: 7 in the callback, shutdown
onOpen: 7 in the callback, shutdown
onMessage: 7 in the callback, shutdown
onClose: 7 in the callback, shutdown
onDrain: 7 in the callback, shutdown
onPong: 7 in the callback, shutdown
onRequest: 7 in the callback, shutdown
onError: 7 in the callback, shutdown
timer: 7 in the callback, shutdown
