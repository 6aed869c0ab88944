<?php

declare(strict_types=1);

// While some clients flood the server, it answers and admits the others. `bench/floods` measures how
// fast. Here the machine may be busy, so the bound only distinguishes fair service from starvation.

require __DIR__ . '/lib/bootstrap.php';
require __DIR__ . '/lib/Flooded.php';

/** Maximum wait in milliseconds. Without fair turns a client waits until the flood ends, or 10 s. */
const BOUND = 1500.0;

/** How the server ends a flooder whose frames carry no data, or null for any other flood. */
function ending(string $flood): ?string
{
    return match (true) {
        (bool) preg_match('/^ws: (empty (fragments|pings|pongs)|pings)/', $flood) => '1008',
        (bool) preg_match('/^h2: (?!data of|requests$)/', $flood) => 'GOAWAY ENHANCE_YOUR_CALM',
        default => null,
    };
}

$flooded = new Flooded(new Certificates(), 20, 10.0);
foreach (array_keys(Floods::all()) as $name) {
    test("others are served during a flood of $name", function () use ($flooded, $name): void {
        $before = $flooded->stats()['floodClosed'];
        $seen = $flooded->flood($name, 2, 1.0);
        check($seen['echo']['count'] > 0, 'no echo arrived');
        check($seen['echo']['max'] < BOUND, "an echo took {$seen['echo']['max']} ms");
        check($seen['connect']['max'] < BOUND, "a newcomer waited {$seen['connect']['max']} ms");
        same(0, $seen['lost'], 'clients lost');
        $ending = ending($name);
        if ($ending !== null) {
            check(isset($seen['ends'][$ending]), 'not ended with ' . $ending . ' but ' . json_encode($seen['ends']));
            check($flooded->stats()['floodClosed'] > $before || str_contains($name, 'h2: '), 'floodClosed does not count it');
        } else {
            check(!isset($seen['ends']['1008']), 'frames that carry data are treated as a flood');
        }
    });
}
