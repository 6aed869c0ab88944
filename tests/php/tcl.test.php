<?php

declare(strict_types=1);

// The WebSocket client of tcllib. It sends "Connection: close" along with "Upgrade", and gives up a
// connection whose 101 response repeats the "close".

require __DIR__ . '/lib/bootstrap.php';

const CLIENT = <<<'TCL'
package require websocket
proc handle {socket type message} {
    switch -- $type {
        connect { ::websocket::send $socket text "hello from Tcl" }
        text { puts "text $message"; exit 0 }
        default { puts "$type $message" }
    }
}
after 20000 { puts "timed out"; exit 1 }
::websocket::open [lindex $argv 0] handle
vwait forever
TCL;

exec('echo "package require websocket" | tclsh 2>&1', $output, $status);
if ($status !== 0) {
    skip('tcllib connects', 'needs tclsh and tcllib: ' . ($output[0] ?? 'no tclsh'));
    exit(0);
}
$server = TestServer::start();
$script = tempnam(sys_get_temp_dir(), 'sprocket-tcl-');
file_put_contents($script, CLIENT);

test('tcllib connects and gets an answer', function () use ($server, $script): void {
    $client = new Child(['tclsh', $script, $server->address]);
    same('text hello from Tcl', $client->line('/^(text|timed out|error|close)/'));
    same(0, $client->wait());
});

unlink($script);
$server->stop();
