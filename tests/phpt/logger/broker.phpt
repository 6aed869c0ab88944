--TEST--
The log reports an unreachable broker and each lost publication
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/logger.inc';

// A port on which nothing listens: the kernel assigned it a moment ago.
$free = stream_socket_server('tcp://127.0.0.1:0');
$address = stream_socket_get_name($free, false);
fclose($free);

$log = new Lines();
$server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(
    logger: $log,
    broker: "redis://user:secret@$address",
    brokerQueue: 65536,
));
$server->onError(fn () => null);
$server->start();
[$level, $message, $context] = $shown = $log->next($server, 'broker.lost');
echo "$level $context[option] ", str_starts_with($message, 'The broker is not connected: ') ? 'ok' : $message, "\n";

for ($i = 0; $i < 10; $i++) {
    $server->publish('news', str_repeat('x', 10_000));
}
[$level, $message, $context] = $log->next($server, 'publication.lost');
echo "$level $context[topic] ", $message === "A publication to the topic news was lost: $context[reason]" ? 'ok' : $message, "\n";
var_dump($context['uncertain']);
echo str_contains(json_encode([$shown, $message, $context, $log->lines]), 'secret') ? 'the password is shown' : 'done', "\n";
--EXPECT--
warning broker ok
error news ok
bool(true)
done
