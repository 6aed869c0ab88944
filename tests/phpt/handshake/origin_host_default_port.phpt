--TEST--
Origin and Host are compared with default ports filled in and without regard to case
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->start();
$pairs = [
    ['http://app.example', 'app.example'], ['http://app.example', 'app.example:80'], ['https://app.example', 'app.example'],
    ['https://app.example', 'app.example:443'], ['http://APP.example', 'app.EXAMPLE'], ['http://app.example:8080', 'app.example'],
    ['http://app.example', 'app.example:8080'], ['http://[::1]:8080', '[::1]:8080'],
    ['http://app.example:443', 'app.example'], ['https://app.example:443', 'app.example'], ['http://app.example.', 'app.example'],
    ['http://[::1]:8080', '[0:0:0:0:0:0:0:1]:8080'],
];
foreach ($pairs as [$origin, $host]) {
    $client = Client::of($server);
    echo "$origin to $host: ", $client->raw($client->upgradeRequest(['Origin' => $origin, 'Host' => $host]))->response()->status, "\n";
}
--EXPECT--
http://app.example to app.example: 101
http://app.example to app.example:80: 101
https://app.example to app.example: 101
https://app.example to app.example:443: 101
http://APP.example to app.EXAMPLE: 101
http://app.example:8080 to app.example: 403
http://app.example to app.example:8080: 403
http://[::1]:8080 to [::1]:8080: 101
http://app.example:443 to app.example: 403
https://app.example:443 to app.example: 101
http://app.example. to app.example: 403
http://[::1]:8080 to [0:0:0:0:0:0:0:1]:8080: 101
