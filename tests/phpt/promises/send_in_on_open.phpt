--TEST--
Messages that onOpen sends follow the 101 response, and never precede it
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onOpen(fn ($c) => $c->send('first'));
$server->start();
for ($i = 0; $i < 20; $i++) {
    $client = Client::of($server);
    $client->raw($client->upgradeRequest());
    $response = $client->response();
    if ($response->status !== 101 || $client->message() !== 'first') {
        echo "wrong\n";
    }
}
echo "done\n";
--EXPECT--
done
