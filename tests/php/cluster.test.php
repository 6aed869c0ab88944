<?php

declare(strict_types=1);

/**
 * Two nodes on two machines that share topics by Redis or NATS: each subscriber of each gets each
 * message once and in order; and what is lost when the broker, a node or the cable goes is no more
 * than docs/brokers.md says.
 *
 * For a long run: CLUSTER_SUBSCRIBERS (on each node), CLUSTER_MESSAGES (of each node) and
 * CLUSTER_RATE (a second).
 */

require __DIR__ . '/lib/bootstrap.php';
require __DIR__ . '/lib/Cluster.php';

$subscribers = (int) (getenv('CLUSTER_SUBSCRIBERS') ?: 50);
$messages = (int) (getenv('CLUSTER_MESSAGES') ?: 3000);
$rate = (float) (getenv('CLUSTER_RATE') ?: 1500);
/** Seconds until all are there, at the least. */
$length = $messages / $rate;

/** Says what came; for people. */
function told(string $what, array ...$reports): void
{
    foreach ($reports as $name => $report) {
        printf("# %s, %s: %d deliveries, lost %d %s, missing %d, repeated %d\n", $what, $name, $report['deliveries'],
            $report['lost'], json_encode($report['holes']), $report['missing'], $report['repeated']);
    }
}

/** Numbers from $low to $high of a stream may be missing, and no others. */
function only_within(?array $hole, int $low, int $high, string $where): void
{
    check($hole === null || $hole[0] >= $low && $hole[1] <= $high,
        "$where lacks " . json_encode($hole) . ", beyond $low to $high");
}

foreach (['redis', 'nats'] as $kind) {
    $begin = function (int $history = 0) use ($kind, $subscribers, $messages, $length): array {
        $cluster = Cluster::start($kind, $missing) ?? throw new RuntimeException($missing);
        $cluster->startBroker();
        $cluster->startNode('a', history: $history);
        $cluster->startNode('b', history: $history);
        $patience = 6 + $length / 4;
        $watch = fn (string $machine) => $cluster->watch($machine, $subscribers, 2, $messages, $patience, $history > 0);
        $watchers = [$watch('a'), $watch('b')];
        foreach ($history > 0 ? ['a', 'b'] : [] as $machine) {
            until(fn (): bool => $cluster->state($machine)['answers'] >= $subscribers, "all on $machine have a position");
        }
        return [$cluster, ...$watchers];
    };
    $publish = function (Cluster $cluster) use ($messages, $rate): void {
        $cluster->publish('a', $messages, $rate);
        $cluster->publish('b', $messages, $rate);
    };

    if (Cluster::start($kind, $missing) === null) {
        skip("two machines with $kind", $missing);
        continue;
    }

    test("two machines with $kind: every subscriber gets each message once and in order", function () use ($kind, $begin, $publish, $messages, $subscribers, $length): void {
        [$cluster, $a, $b] = $begin();
        $publish($cluster);
        [$a, $b] = [Cluster::report($a, 60 + 20 * $length), Cluster::report($b, 60 + 20 * $length)];
        told("$kind, nothing happens", a: $a, b: $b);
        foreach (['a' => $a, 'b' => $b] as $machine => $report) {
            same([2 * $messages * $subscribers, 0, 0, 0], [$report['deliveries'], $report['lost'], $report['missing'], $report['repeated']], "on $machine: deliveries, lost, missing, repeated");
            same([], $cluster->state($machine)['errors'], 'errors');
        }
    });

    test("$kind is killed and comes back: what a node publishes reaches its own subscribers, and the others' after that", function () use ($kind, $begin, $publish, $messages, $rate, $length): void {
        [$cluster, $a, $b] = $begin();
        $publish($cluster);
        until(fn (): bool => $cluster->state('a')['published'] > $messages / 4, 'a quarter is published', 10 + 2 * $length);
        $before = ['a' => $cluster->state('a')['published'], 'b' => $cluster->state('b')['published']];
        $cluster->killBroker();
        foreach (['a', 'b'] as $machine) {
            until(fn (): bool => !$cluster->isConnected($machine), "$machine notices");
        }
        $cluster->startBroker();
        $back = [];
        foreach (['a', 'b'] as $machine) {
            until(fn (): bool => $cluster->isConnected($machine), "$machine is back", 20);
            $back[$machine] = $cluster->state($machine)['published'];
        }
        [$a, $b] = [Cluster::report($a, 60 + 20 * $length), Cluster::report($b, 60 + 20 * $length)];
        told("$kind killed", a: $a, b: $b);
        same([0, 0], [$a['repeated'], $b['repeated']], 'repeated');
        same([0, 0], [$a['missing'], $b['missing']], 'missing at the end');
        same([null, null], [$a['holes'][0], $b['holes'][1]], 'lost of what the own node publishes');
        // A second: what was under way when the broker died, or reached the broker before the
        // other node had subscribed again.
        only_within($a['holes'][1], (int) ($before['b'] - $rate), (int) ($back['b'] + $rate), 'a');
        only_within($b['holes'][0], (int) ($before['a'] - $rate), (int) ($back['a'] + $rate), 'b');
    });

    test("a node is killed: with $kind the other one gets what it had published, and goes on", function () use ($kind, $begin, $publish, $messages, $length): void {
        [$cluster, $a, $b] = $begin();
        $publish($cluster);
        until(fn (): bool => $cluster->state('b')['published'] > $messages / 3, 'a third is published', 10 + 2 * $length);
        $published = $cluster->state('b')['published'];
        $cluster->killNode('b');
        $report = Cluster::report($a, 60 + 20 * $length);
        told("node b killed, $kind", a: $report);
        same([0, 0], [$report['lost'], $report['repeated']], 'lost and repeated');
        same(null, $report['holes'][0], 'missing of what the own node publishes');
        check($report['holes'][1][0] >= $published * 0.9, "of {$published} and more messages that b had published, only {$report['holes'][1][0]} came");
    });

    test("the cable to a node is out for a while: with $kind nothing comes twice, and nothing is lost outside of that time", function () use ($kind, $begin, $publish, $messages, $rate, $length): void {
        [$cluster, $a, $b] = $begin();
        $publish($cluster);
        until(fn (): bool => $cluster->state('a')['published'] > $messages / 4, 'a quarter is published', 10 + 2 * $length);
        $before = ['a' => $cluster->state('a')['published'], 'b' => $cluster->state('b')['published']];
        $cluster->cable('b', false);
        usleep((int) (1e6 * (float) (getenv('CLUSTER_CABLE') ?: 1)));
        $cluster->cable('b', true);
        [$a, $b] = [Cluster::report($a, 90 + 20 * $length), Cluster::report($b, 90 + 20 * $length)];
        told("cable out, $kind", a: $a, b: $b);
        same([0, 0], [$a['repeated'], $b['repeated']], 'repeated');
        same([null, null], [$a['holes'][0], $b['holes'][1]], 'lost of what the own node publishes');
        foreach ([$a['holes'][1], $b['holes'][0]] as $hole) {
            check($hole === null || $hole[0] >= min($before) - $rate, 'lost before the cable was out: ' . json_encode($hole));
        }
    });

    test("with history and $kind a client misses nothing when its node is replaced", function () use ($kind, $begin, $messages, $rate, $length): void {
        [$cluster, $a, $b] = $begin($messages * 3);
        $cluster->publish('a', $messages, $rate);
        $cluster->publish('b', 1, $rate); // The rest comes from its successor, which begins anew.
        until(fn (): bool => $cluster->state('a')['published'] > $messages / 3, 'a third is published', 10 + 2 * $length);
        $cluster->killNode('b');
        $cluster->startNode('b', history: $messages * 3);
        $a = Cluster::report($a, 90 + 20 * $length);
        $b = Cluster::report($b, 90 + 20 * $length);
        told("node b replaced, history, $kind", a: $a, b: $b);
        foreach (['a' => $a, 'b' => $b] as $machine => $report) {
            same([0, 0, null], [$report['lost'], $report['repeated'], $report['holes'][0]], "on $machine: lost, repeated, missing of stream 0");
        }
        check($cluster->state('b')['resumed'] > 0, 'nobody has resumed on b');
        same(0, $cluster->state('b')['incomplete'], 'resumed incompletely');
    });
}
