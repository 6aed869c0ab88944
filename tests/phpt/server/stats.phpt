--TEST--
stats() counts events, and has the counters that the manual lists
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->onMessage(fn ($c, $m) => $c->send($m));
$server->onRequest(fn () => new Sprocket\Response());
$server->start();
$client = Client::of($server)->open();
$client->send('12345')->message();
$other = Client::of($server)->raw("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")->response();
$gone = Client::of($server)->open();
$gone->close();
pump($server, fn () => $server->stats()['closed'] === 1);

$stats = $server->stats();
preg_match('~Returns the counters.*?\*/\s+public function stats~s', file_get_contents(__DIR__ . '/../../../stubs/sprocket.php'), $manual);
preg_match_all('~\* - `(\w+)`:~', $manual[0], $names);
[$keys, $listed] = [array_keys($stats), $names[1]];
sort($keys);
sort($listed);
echo $keys === $listed ? "the counters of the manual\n" : implode(' ', $keys) . "\n";
foreach (['connections', 'accepted', 'opened', 'closed', 'httpRequests', 'messagesIn', 'messagesOut', 'bytesIn', 'abnormal'] as $name) {
    echo "$name $stats[$name]\n";
}
var_dump($stats['bytesOut'] >= 7, $stats['closes']);
foreach (array_filter($stats['callbacks'], fn ($times) => $times['calls'] > 0) as $kind => $times) {
    echo "$kind $times[calls]", $times['seconds'] > 0 ? '' : ' in no time', "\n";
}
halt($server);
var_dump($server->stats()['messagesIn']);
--EXPECT--
the counters of the manual
connections 1
accepted 3
opened 2
closed 1
httpRequests 1
messagesIn 1
messagesOut 1
bytesIn 5
abnormal 0
bool(true)
array(1) {
  [1000]=>
  int(1)
}
message 1
request 1
int(1)
