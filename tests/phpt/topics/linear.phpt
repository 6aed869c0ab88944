--TEST--
The CPU time for topics, members and timers is linear in their number
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->start();
$client = Client::of($server)->open();
pump($server, fn () => count($server) === 1);
$c = current($server->connections());
$each = function (int $n, callable $call): void {
    for ($i = 0; $i < $n; $i++) {
        $call($i);
    }
};
// The answer shows that the I/O thread has carried out the commands before it.
$settled = function () use ($c, $client): void {
    $c->send('settled');
    $client->message();
};
$kinds = [
    'topics' => function (int $n) use ($c, $each, $settled): void {
        $each($n, fn ($i) => $c->subscribe("t.$i"));
        $each($n, fn ($i) => $c->subscribe("t.$i"));
        $c->topics();
        $settled();
        $each($n, fn ($i) => $c->unsubscribe("t.$i"));
        $settled();
    },
    'a list of topics' => function (int $n) use ($c, $settled): void {
        $names = array_map(fn ($i) => "u.$i", range(1, $n));
        $c->subscribe(...$names);
        $c->unsubscribe(...array_reverse($names));
        $settled();
    },
    'topics of a connection that ends' => function (int $n) use ($server, $each): void {
        $other = Client::of($server)->open();
        pump($server, fn () => count($server) === 2);
        [, $ending] = iterator_to_array($server->connections(), false);
        $each($n, fn ($i) => $ending->subscribe("e.$i"));
        $other->drop();
        pump($server, fn () => count($server) === 1);
    },
    'patterns' => function (int $n) use ($c, $each, $settled): void {
        $each($n, fn ($i) => $c->subscribePattern("p.$i.*"));
        $c->patterns();
        $each($n, fn ($i) => $c->unsubscribePattern("p.$i.*"));
        $settled();
    },
    'members' => function (int $n) use ($c, $each): void {
        $each($n, fn ($i) => $c->join("j.$i", 'ann'));
        $each($n, fn ($i) => $c->join("j.$i", 'bob'));
        $each($n, fn ($i) => $c->leave("j.$i"));
    },
    'timers' => function (int $n) use ($server, $each): void {
        $timers = [];
        $each($n, function ($i) use ($server, &$timers): void {
            $timers[] = $server->after(1000 - $i / 100, fn () => null);
            $timers[] = $server->every(1000 + $i, fn () => null);
        });
        foreach ($timers as $timer) {
            $server->cancel($timer);
        }
        $ran = 0;
        $each($n, function () use ($server, &$ran): void {
            $server->after(0.0, function () use (&$ran): void { $ran++; });
        });
        while ($ran < $n) {
            $server->poll(0.01);
        }
    },
];
// CPU time of all threads of this process, in microseconds.
$cpu = function (): int {
    $used = getrusage();
    return ($used['ru_utime.tv_sec'] + $used['ru_stime.tv_sec']) * 1_000_000 + $used['ru_utime.tv_usec'] + $used['ru_stime.tv_usec'];
};
foreach ($kinds as $kind => $run) {
    $best = [];
    // The cheapest of several rounds counts, because the machine may be busy.
    for ($round = 0; $round < 4; $round++) {
        foreach ([1500, 12_000] as $n) {
            $start = $cpu();
            $run($n);
            $best[$n] = min($best[$n] ?? INF, $cpu() - $start);
        }
    }
    // The expected ratio is 8; at quadratic cost it would be 64.
    $ratio = $best[12_000] / max(1, $best[1500]);
    echo $kind, $ratio < 24 ? ': linear' : sprintf(': %.1f times', $ratio), "\n";
}
--EXPECT--
topics: linear
a list of topics: linear
topics of a connection that ends: linear
patterns: linear
members: linear
timers: linear
