--TEST--
A duration in seconds lies between 0, or the method's own minimum, and 1000000000; an error names the argument
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

use Sprocket\{History, InvalidOption, Options, Publisher, Server, Tls};

$server = new Server('ws://127.0.0.1:0');
$server->start();
$calls = [
    fn (float $s) => $server->stop($s),
    fn (float $s) => $server->poll($s),
    fn (float $s) => $server->after($s, fn () => null),
    fn (float $s) => $server->every($s, fn () => null),
];
foreach ($calls as $call) {
    foreach ([-1.0, NAN, INF, -INF, 1e19, 1.1e9, PHP_FLOAT_MAX] as $seconds) {
        try {
            $call($seconds);
            echo "$seconds was taken\n";
        } catch (ValueError $e) {
            $messages[] = $e->getMessage();
        }
    }
}
foreach ([0, 7, 14, 21] as $first) {
    echo $messages[$first], "\n";
}
echo $messages[4], "\n", $messages[22], "\n", thrown(fn () => $server->every(0.0009, fn () => null), '0.001 to'), "\n";
$server->cancel($server->every(1e9, fn () => null));
$server->cancel($server->after(1e9, fn () => null));
foreach ([-1.0, NAN, INF, 1e19] as $seconds) {
    foreach (['handshakeTimeout', 'pingInterval', 'pingTimeout', 'closeTimeout'] as $option) {
        echo thrown(fn () => new Options(...[$option => $seconds]), "Option $option must be between") === InvalidOption::class ? '' : "$option $seconds\n";
    }
    echo thrown(fn () => new History(seconds: $seconds), 'Option seconds'), ' ', thrown(fn () => new Publisher('unix:///a', $seconds), 'Option timeout'), ' ',
        thrown(fn () => new Tls('a', 'b', reloadInterval: $seconds), 'Option reloadInterval'), "\n";
}
var_dump($server->isRunning());
// The longest grace period ends early, with the last connection.
$client = Client::of($server)->open();
pump($server, fn () => count($server) === 1);
$server->stop(1e9);
$client->close();
pump($server, fn () => !$server->isRunning());
echo "stopped\n";
--EXPECT--
Sprocket\Server::stop(): Argument #1 ($grace) must be 0 to 1000000000 seconds, -1.0 given
Sprocket\Server::poll(): Argument #1 ($timeout) must be 0 to 1000000000 seconds, -1.0 given
Sprocket\Server::after(): Argument #1 ($seconds) must be 0 to 1000000000 seconds, -1.0 given
Sprocket\Server::every(): Argument #1 ($seconds) must be 0.001 to 1000000000 seconds, -1.0 given
Sprocket\Server::stop(): Argument #1 ($grace) must be 0 to 1000000000 seconds, 1e19 given
Sprocket\Server::every(): Argument #1 ($seconds) must be 0.001 to 1000000000 seconds, NAN given
ValueError
Sprocket\InvalidOption Sprocket\InvalidOption Sprocket\InvalidOption
Sprocket\InvalidOption Sprocket\InvalidOption Sprocket\InvalidOption
Sprocket\InvalidOption Sprocket\InvalidOption Sprocket\InvalidOption
Sprocket\InvalidOption Sprocket\InvalidOption Sprocket\InvalidOption
bool(true)
stopped
