--TEST--
During a flood few lines are logged and the rest are counted, and onRefused gets all that fit its queue
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/logger.inc';

$log = new Lines();
$delivered = 0;
$server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(logger: $log));
$server->onRefused(function () use (&$delivered): void { $delivered++; });
$server->start();

// PHP dispatches nothing meanwhile; 256 notices fit the queue.
$clients = [];
for ($i = 0; $i < 300; $i++) {
    $client = $clients[] = new Client($server->addresses()[0]);
    $client->raw($client->upgradeRequest(['Origin' => 'https://evil.example']));
    $client->response();
    $client->drop();
}
echo $server->stats()['refusedOrigin'], " refused\n";
pump($server, fn () => $log->of('refused.unreported') !== []);
// The clients may have taken several seconds, and each second has lines of its own.
pump($server, function () use ($log, &$suppressed): bool {
    $suppressed = array_sum(array_map(fn (array $line): int => $line[2]['lines'], $log->of('log.suppressed')));
    return count($log->of('handshake.refused')) + $suppressed >= 300;
});
$stats = $server->stats();
echo count($log->of('handshake.refused')) + $suppressed, " logged or counted\n";
var_dump(count($log->of('handshake.refused')) <= 100, $stats['logSuppressed'] === $suppressed);
[$level, $message, $context] = $log->of('log.suppressed')[0];
echo $level, ' ', preg_replace('/\d+/', 'N', $message), ' ', $context['suppressed'], ' ', $context['option'], "\n";
echo $delivered + $stats['refusedUnreported'], " delivered or counted\n";
var_dump($delivered <= 256, $stats['refusedUnreported'] > 0);
[$level, $message] = $log->of('refused.unreported')[0];
echo $level, ' ', preg_replace('/\d+/', 'N', $message), "\n";

// Lines about other events are not suppressed, and the queue has room again.
$client = Client::of($server)->raw("nonsense\r\n\r\n");
pump($server, fn () => $log->of('request.malformed') !== []);
$before = $delivered;
$client = Client::of($server);
$client->raw($client->upgradeRequest(['Origin' => 'https://evil.example']));
pump($server, function () use (&$delivered, $before): bool { return $delivered > $before; });
echo "done\n";
--EXPECT--
300 refused
300 logged or counted
bool(true)
bool(true)
warning N more lines were suppressed: handshake.refused (origins) handshake.refused origins
300 delivered or counted
bool(true)
bool(true)
warning N refused requests were not passed to onRefused, because too many waited
done
