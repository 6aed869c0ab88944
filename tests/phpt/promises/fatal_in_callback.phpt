--TEST--
A fatal error in any callback ends the script as usual and closes the sockets
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

require __DIR__ . '/../inc/callbacks.inc';

foreach (EVERY_CALLBACK as $callback) {
    $child = every_callback($callback, 'echo "in the callback\n"; eval("class Twice {} class Twice {}");');
    $client = provoke($callback, $child->line('/^ws:/'));
    $status = $child->wait();
    $client->ended();
    preg_match_all('/in the callback|shutdown|not reached|Fatal error/', $child->output, $said);
    echo "$callback: $status ", implode(', ', $said[0]), "\n";
}
--EXPECT--
onUpgrade: 255 in the callback, Fatal error, shutdown
onOpen: 255 in the callback, Fatal error, shutdown
onMessage: 255 in the callback, Fatal error, shutdown
onClose: 255 in the callback, Fatal error, shutdown
onDrain: 255 in the callback, Fatal error, shutdown
onPong: 255 in the callback, Fatal error, shutdown
onRequest: 255 in the callback, Fatal error, shutdown
onError: 255 in the callback, Fatal error, shutdown
timer: 255 in the callback, Fatal error, shutdown
