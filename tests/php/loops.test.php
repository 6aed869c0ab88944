<?php

declare(strict_types=1);

// The server inside a foreign event loop: stream_select(), Revolt, and ReactPHP.

require __DIR__ . '/lib/bootstrap.php';

$loops = ['select' => ['stream_select()']];
foreach (['revolt' => 'Revolt', 'react' => 'ReactPHP'] as $kind => $name) {
    $autoloader = library($kind);
    if ($autoloader) {
        $loops[$kind] = [$name, $autoloader];
    } else {
        skip($name, 'could not be fetched; ' . strtoupper($kind) . '_AUTOLOAD may name its autoloader');
    }
}

foreach ($loops as $kind => [$name]) {
    $start = fn (): TestServer => TestServer::script(__DIR__ . '/servers/loop.php', $kind, ...array_slice($loops[$kind], 1));

    test("$name: timers of the loop and messages interleave", function () use ($start): void {
        $server = $start();
        $client = $server->open();
        $last = (int) $client->send('ticks')->message();
        for ($i = 0; $i < 5; $i++) {
            $passed = seconds(function () use ($client, &$ticks): void {
                usleep(100_000);
                $ticks = (int) $client->send('ticks')->message();
            });
            check($ticks - $last >= 2 && $ticks - $last <= 400 * $passed, ($ticks - $last) . " ticks in $passed s");
            $last = $ticks;
            $took = seconds(fn () => same('hello', $client->send('hello')->message()));
            check($took < 2.0, "an echo took $took s");
        }
    });

    test("$name: a stream of messages does not starve the loop's timers, and the timers do not starve the messages", function () use ($start): void {
        $server = $start();
        $client = $server->open();
        $last = (int) $client->send('ticks')->message();
        $count = $ticks = 0;
        until(function () use ($client, $last, &$count, &$ticks): bool {
            $client->raw(str_repeat(Client::encode(Client::TEXT, 'x'), 20));
            for ($i = 0; $i < 20; $i++, $count++) {
                $client->message();
            }
            $ticks = (int) $client->send('ticks')->message() - $last;
            return $ticks >= 8 && $count >= 100;
        }, 'eight ticks and a hundred echoes', 20.0);
    });

    test("$name: a message sent by a timer of the loop leaves without another event", function () use ($start): void {
        $server = $start();
        $client = $server->open();
        $client->send('quiet')->message();
        same('later', $client->send('later')->message());
    });

    test("$name: a timer of the server wakes the loop", function () use ($start): void {
        $server = $start();
        $client = $server->open();
        $client->send('quiet')->message();
        $took = seconds(fn () => same('after', $client->send('after')->message()));
        check($took >= 0.045, "it took $took s");
    });

    test("$name: an idle server uses no CPU, and still answers", function () use ($start): void {
        $server = $start();
        $clients = [];
        for ($i = 0; $i < 20; $i++) {
            $clients[] = $server->open();
        }
        same('quiet', $clients[0]->send('quiet')->message());
        idle($server);
        same('hello', $clients[7]->send('hello')->message());
    });

    test("$name: stop() lets the loop end", function () use ($start): void {
        $server = $start();
        $client = $server->open()->send('stop');
        same('1001', substr($client->closeCode(), 0, 4));
        $client->sendClose(1001);
        $server->child->line('/^the loop ended/');
        same(0, $server->child->wait(), 'exit status');
    });
}

test('run(): an idle server uses no CPU, and still answers', function (): void {
    $server = TestServer::start();
    $clients = [];
    for ($i = 0; $i < 20; $i++) {
        $clients[] = $server->open();
    }
    $clients[0]->send('hello')->message();
    idle($server);
    same('hello', $clients[7]->send('hello')->message());
});

test('run(): a server without a connection uses no CPU', function (): void {
    idle(TestServer::start());
});

/** Checks that all threads together use at most 1 % of a processor over two seconds. */
function idle(TestServer $server): void
{
    usleep(200_000); // lets pending work finish
    $before = cpu_seconds($server->child->pid);
    usleep(2_000_000);
    $used = cpu_seconds($server->child->pid) - $before;
    check($used <= 0.02, sprintf('%.0f ms of CPU in 2 s', $used * 1000));
}
