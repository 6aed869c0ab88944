--TEST--
Forwarding headers count only if they come from a trusted proxy
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$describe = function (array $trusted, array $headers): string {
    $server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(trustedProxies: $trusted));
    $seen = '';
    $server->onOpen(function (Sprocket\Connection $c) use (&$seen) {
        $r = $c->request;
        $seen = "$c->remoteAddress {$r->remoteAddress()} {$r->scheme()} " . ($r->isSecure() ? 'secure' : 'plain');
    });
    $server->start();
    $client = Client::of($server)->open($headers);
    pump($server, function () use (&$seen): bool { return $seen !== ''; });
    return $seen;
};
$forged = ['X-Forwarded-For' => '6.6.6.6, 192.0.2.1', 'X-Forwarded-Proto' => 'https'];
echo $describe([], $forged), "\n", $describe(['10.0.0.0/8', '::1', 'unix:'], $forged), "\n", $describe(['127.0.0.0/8'], $forged), "\n";
echo $describe(['127.0.0.1'], ['Forwarded' => 'for="[2001:db8::7]:123";proto=https']), "\n";
--EXPECT--
127.0.0.1 127.0.0.1 ws plain
127.0.0.1 127.0.0.1 ws plain
192.0.2.1 192.0.2.1 wss secure
2001:db8::7 2001:db8::7 wss secure
