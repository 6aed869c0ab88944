<?php

declare(strict_types=1);

/**
 * Two nodes on two machines share topics through Redis or NATS. Each subscriber of each node gets each
 * message once and in order. When the broker, a node or the cable fails, no more is lost than
 * docs/brokers.md says.
 *
 * For a long run, set CLUSTER_SUBSCRIBERS (per node), CLUSTER_MESSAGES (per node) and CLUSTER_RATE
 * (messages a second).
 */

require __DIR__ . '/lib/bootstrap.php';
require __DIR__ . '/lib/Cluster.php';

$subscribers = (int) (getenv('CLUSTER_SUBSCRIBERS') ?: 50);
$messages = (int) (getenv('CLUSTER_MESSAGES') ?: 3000);
$rate = (float) (getenv('CLUSTER_RATE') ?: 1500);
/** Minimum number of seconds until all messages are published. */
$length = $messages / $rate;

/** Prints the results of subscribers for human readers. */
function print_reports(string $what, array ...$reports): void
{
    foreach ($reports as $name => $report) {
        printf("# %s, %s: %d deliveries, lost %d %s, missing %d, repeated %d\n", $what, $name, $report['deliveries'],
            $report['lost'], json_encode($report['holes']), $report['missing'], $report['repeated']);
    }
}

/** Checks that only messages numbered $low to $high of a stream are missing. */
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

    test("with $kind every subscriber on two machines gets each message once and in order", function () use ($kind, $begin, $publish, $messages, $subscribers, $length): void {
        [$cluster, $a, $b] = $begin();
        $publish($cluster);
        [$a, $b] = [Cluster::report($a, 60 + 20 * $length), Cluster::report($b, 60 + 20 * $length)];
        print_reports("$kind without failures", a: $a, b: $b);
        foreach (['a' => $a, 'b' => $b] as $machine => $report) {
            same([2 * $messages * $subscribers, 0, 0, 0], [$report['deliveries'], $report['lost'], $report['missing'], $report['repeated']], "on $machine: deliveries, lost, missing, repeated");
            same([], $cluster->state($machine)['errors'], 'errors');
        }
    });

    test("while $kind is down, publications reach the subscribers on their own node, and after its return those on the other one", function () use ($kind, $begin, $publish, $messages, $rate, $length): void {
        [$cluster, $a, $b] = $begin();
        $publish($cluster);
        until(fn (): bool => $cluster->state('a')['published'] > $messages / 4, 'a quarter of the messages is published', 10 + 2 * $length);
        $before = ['a' => $cluster->state('a')['published'], 'b' => $cluster->state('b')['published']];
        $cluster->killBroker();
        foreach (['a', 'b'] as $machine) {
            until(fn (): bool => !$cluster->isConnected($machine), "$machine notices the failure");
        }
        $cluster->startBroker();
        $back = [];
        foreach (['a', 'b'] as $machine) {
            until(fn (): bool => $cluster->isConnected($machine), "$machine is connected again", 20);
            $back[$machine] = $cluster->state($machine)['published'];
        }
        [$a, $b] = [Cluster::report($a, 60 + 20 * $length), Cluster::report($b, 60 + 20 * $length)];
        print_reports("$kind killed", a: $a, b: $b);
        same([0, 0], [$a['repeated'], $b['repeated']], 'repeated');
        same([0, 0], [$a['missing'], $b['missing']], 'missing at the end');
        same([null, null], [$a['holes'][0], $b['holes'][1]], 'messages lost on the publishing node');
        // One second of messages: those in flight when the broker died, and those that reached the broker
        // before the other node had resubscribed.
        only_within($a['holes'][1], (int) ($before['b'] - $rate), (int) ($back['b'] + $rate), 'a');
        only_within($b['holes'][0], (int) ($before['a'] - $rate), (int) ($back['a'] + $rate), 'b');
    });

    test("with $kind, when a node is killed, the other one gets its publications and serves on", function () use ($kind, $begin, $publish, $messages, $length): void {
        [$cluster, $a, $b] = $begin();
        $publish($cluster);
        until(fn (): bool => $cluster->state('b')['published'] > $messages / 3, 'a third of the messages is published', 10 + 2 * $length);
        $published = $cluster->state('b')['published'];
        $cluster->killNode('b');
        $report = Cluster::report($a, 60 + 20 * $length);
        print_reports("node b killed, $kind", a: $report);
        same([0, 0], [$report['lost'], $report['repeated']], 'lost and repeated');
        same(null, $report['holes'][0], 'messages missing on the publishing node');
        check($report['holes'][1][0] >= $published * 0.9, "b had published at least {$published} messages, but only {$report['holes'][1][0]} arrived");
    });

    test("with $kind, when the cable to a node is cut for a while, no message is repeated, and none is lost outside that time", function () use ($kind, $begin, $publish, $messages, $rate, $length): void {
        [$cluster, $a, $b] = $begin();
        $publish($cluster);
        until(fn (): bool => $cluster->state('a')['published'] > $messages / 4, 'a quarter of the messages is published', 10 + 2 * $length);
        $before = ['a' => $cluster->state('a')['published'], 'b' => $cluster->state('b')['published']];
        $cluster->cable('b', false);
        usleep((int) (1e6 * (float) (getenv('CLUSTER_CABLE') ?: 1)));
        $cluster->cable('b', true);
        [$a, $b] = [Cluster::report($a, 90 + 20 * $length), Cluster::report($b, 90 + 20 * $length)];
        print_reports("cable out, $kind", a: $a, b: $b);
        same([0, 0], [$a['repeated'], $b['repeated']], 'repeated');
        same([null, null], [$a['holes'][0], $b['holes'][1]], 'messages lost on the publishing node');
        foreach ([$a['holes'][1], $b['holes'][0]] as $hole) {
            check($hole === null || $hole[0] >= min($before) - $rate, 'lost before the cable was cut: ' . json_encode($hole));
        }
    });

    test("with history and $kind a client misses no message when its node is replaced", function () use ($kind, $begin, $messages, $rate, $length): void {
        [$cluster, $a, $b] = $begin($messages * 3);
        $cluster->publish('a', $messages, $rate);
        $cluster->publish('b', 1, $rate); // one is enough: only the messages of node a are checked
        until(fn (): bool => $cluster->state('a')['published'] > $messages / 3, 'a third of the messages is published', 10 + 2 * $length);
        $cluster->killNode('b');
        $cluster->startNode('b', history: $messages * 3);
        $a = Cluster::report($a, 90 + 20 * $length);
        $b = Cluster::report($b, 90 + 20 * $length);
        print_reports("node b replaced, history, $kind", a: $a, b: $b);
        foreach (['a' => $a, 'b' => $b] as $machine => $report) {
            same([0, 0, null], [$report['lost'], $report['repeated'], $report['holes'][0]], "on $machine: lost, repeated, missing of stream 0");
        }
        check($cluster->state('b')['resumed'] > 0, 'no client has resumed on b');
        same(0, $cluster->state('b')['incomplete'], 'incomplete resumptions');
    });
}
