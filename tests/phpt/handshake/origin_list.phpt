--TEST--
A list of origins admits exactly those, and '*' admits all
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

function status(array $origins, string $origin, string $host = 'app.example'): int
{
    $server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(origins: $origins));
    $server->start();
    $client = Client::of($server);
    return $client->raw($client->upgradeRequest(['Origin' => $origin, 'Host' => $host]))->response()->status;
}
echo status(['https://a.example'], 'https://a.example'), ' ', status(['https://a.example'], 'http://a.example'), ' ',
    status(['https://a.example'], 'https://a.example:444'), ' ', status(['https://a.example'], 'https://b.a.example'), ' ',
    status(['https://a.example'], 'https://app.example'), "\n";
echo status(['a.example'], 'https://a.example'), ' ', status(['a.example'], 'http://a.example'), ' ',
    status(['a.example'], 'https://xa.example'), "\n";
echo status(['*'], 'https://a.example'), ' ', status(['*'], 'null'), ' ', status(['http://localhost:3000'], 'http://localhost:3000'), "\n";
echo status(['https://*.a.example'], 'https://b.a.example'), ' ', status(['https://*.a.example'], 'https://c.b.a.example:443'), ' ',
    status(['https://*.a.example'], 'https://a.example'), ' ', status(['https://*.a.example'], 'https://evila.example'), "\n";
echo status(['file://'], 'file://'), ' ', status(['file://'], 'https://evil.example'), ' ', status(['capacitor://localhost'], 'capacitor://localhost'), ' ',
    status(['https://a.example/'], 'https://a.example'), ' ', status(['https://a.example:443'], 'https://a.example/'), ' ',
    status(['null'], 'null'), ' ', status(['null'], 'https://null'), "\n";
--EXPECT--
101 403 403 403 403
101 101 403
101 101 101
101 101 403 403
101 403 101 101 101 101 403
