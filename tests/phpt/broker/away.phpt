--TEST--
While the broker is down, onBroker reports it, local topics still work, and a publication that exceeds the queue fails
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

use Sprocket\{Connection, History, Options, PublishException, Publisher, Server};

// A port on which nothing listens: the kernel assigned it a moment ago.
$free = stream_socket_server('tcp://127.0.0.1:0');
$address = stream_socket_get_name($free, false);
fclose($free);

$states = $errors = [];
$socket = sys_get_temp_dir() . '/sprocket-away-' . getmypid();
$server = new Server('ws://127.0.0.1:0', new Options(
    broker: "redis://$address",
    brokerQueue: 65536,
    publishSocket: $socket,
    history: ['log' => new History()],
));
$server->onBroker(function (bool $connected, string $reason) use (&$states): void {
    $states[] = [$connected, $reason !== '', func_num_args()];
});
$server->onError(function (Throwable $e, ?Connection $c) use (&$errors): void {
    $errors[] = $e::class . ($e->uncertain ? ' uncertain' : '') . ($c ? ' of a connection' : '');
});
$server->onOpen(fn (Connection $c) => $c->subscribe('news'));
$server->start();
$client = Client::of($server)->open();
pump($server, fn () => count($GLOBALS['states']) > 0);
echo json_encode($states[0]), "\n";

// Four of these do not fit the queue, and onError gets each of them; all ten reach the local subscriber.
$text = str_repeat('x', 10_000);
for ($i = 0; $i < 10; $i++) {
    $server->publish('news', "$i $text");
}
for ($i = 0; $i < 10; $i++) {
    echo strtok($client->message(), ' '), ' ';
}
echo "\n";
pump($server, fn () => count($GLOBALS['errors']) === 4);
echo implode("\n", array_unique($errors)), "\n";
pump($server, fn () => ($s = $server->stats())['brokerRefused'] === 4 && $s['brokerWaitingBytes'] > 50_000);

// A Publisher gets the failure itself, and onError does not run for it.
$publisher = new Publisher("unix://$socket", 10.0);
foreach (['news', 'log'] as $topic) {
    try {
        $publisher->publish($topic, $text);
    } catch (PublishException $e) {
        $message = preg_replace('/\d{2,}/', 'N', str_replace($socket, 'SOCKET', $e->getMessage()));
        echo json_encode($e->uncertain), " $message\n";
    }
}
var_dump(strlen($client->message()) === 10_000);
$server->publish('log', $text);
pump($server, fn () => count($GLOBALS['errors']) === 5);
echo $errors[4], "\n";
$stats = $server->stats();
echo "connected $stats[brokerConnected], published $stats[brokerPublished]\n";
var_dump($stats['callbacks']['broker']['calls'] === count($states));
--EXPECT--
[false,true,2]
0 1 2 3 4 5 6 7 8 9 
Sprocket\PublishException uncertain
true The server at unix://SOCKET could not pass the message on: the queue to the broker is full: N bytes wait, and the limit is N; the message was delivered on this machine only
false The server at unix://SOCKET refused the message: the queue to the broker is full: N bytes wait, and the limit is N; the message was delivered to nobody
bool(true)
Sprocket\PublishException
connected 0, published 0
bool(true)
