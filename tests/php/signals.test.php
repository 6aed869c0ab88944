<?php

declare(strict_types=1);

// Signals and time limits while run() waits.

require __DIR__ . '/lib/bootstrap.php';

foreach ([15 => 'SIGTERM', 2 => 'SIGINT'] as $signal => $name) {
    test("$name stops an idle run() with 1001 and exit status 0", function () use ($signal): void {
        $server = TestServer::start();
        $client = $server->open();
        $client->send('hello')->message();
        $took = seconds(function () use ($server, $client, $signal): void {
            $server->signal($signal);
            same('1001', substr($client->closeCode(), 0, 4));
            $client->sendClose(1001)->ended()->drop();
            same(0, $server->child->wait(), 'exit status');
        });
        check($took < 9.0, sprintf('it took %.1f s', $took));
        check(str_contains($server->child->output, "done\n"), 'run() did not return');
        same('1001', substr($server->closeLine(), 0, 4), 'code of onClose');
    });
}

test('SIGTERM stops a busy server', function (): void {
    $server = TestServer::start();
    $client = $server->open();
    $client->raw(str_repeat(Client::encode(Client::TEXT, 'hello'), 2000));
    $server->signal(15);
    same(1001, (int) $client->closeCode());
    $client->sendClose(1001);
    same(0, $server->child->wait(), 'exit status');
});

test('a second SIGTERM cuts all connections at once', function (): void {
    $server = TestServer::start(['closeTimeout' => 60.0]);
    $client = $server->open();
    $server->signal(15);
    same('1001', substr($client->closeCode(), 0, 4));
    $took = seconds(function () use ($server): void {
        $server->signal(15);
        same(0, $server->child->wait(), 'exit status');
    });
    check($took < 9.0, sprintf('it took %.1f s', $took));
});

test('a second SIGTERM discards events queued behind slow callbacks', function (): void {
    // The callbacks would take 50 s. The grace period of 5 s covers all of them, and signals are checked between callbacks.
    $server = TestServer::start(['maxPendingMessages' => 500, 'closeTimeout' => 60.0]);
    $client = $server->open();
    $client->raw(str_repeat(Client::encode(Client::TEXT, 'sleep 0.1'), 500));
    $took = seconds(function () use ($server, $client): void {
        $server->signal(15);
        // The client waits for the first close, because two pending signals would merge into one.
        same(1001, (int) $client->closeCode());
        $server->signal(15);
        same(0, $server->child->wait(), 'exit status');
    });
    check($took < 4.0, sprintf('it took %.1f s', $took));
    check(str_contains($server->child->output, "done\n"), 'run() did not return');
    same('1006', substr($server->closeLine(), 0, 4), 'code of onClose');
});

test('SIGTERM is not queued behind messages of closed connections', function (): void {
    $server = TestServer::start(['maxPendingMessages' => 500]);
    for ($i = 0; $i < 4; $i++) {
        $client = $server->open();
        $client->raw(str_repeat(Client::encode(Client::TEXT, 'sleep 0.05'), 500));
        $client->drop();
    }
    $took = seconds(function () use ($server): void {
        $server->signal(15);
        same(0, $server->child->wait(), 'exit status');
    });
    // The grace period is 5 s; the queued messages would take 100 s.
    check($took < 15.0, sprintf('it took %.1f s', $took));
});

/** Starts a server that runs additional code before run(). */
function with_code(string $code): TestServer
{
    return TestServer::command(['@php@', '-r', <<<PHP
        \$server = new Sprocket\Server('ws://127.0.0.1:0');
        \$server->onMessage(fn (\$c, \$m) => \$c->send(\$m));
        $code
        \$server->start();
        echo \$server->addresses()[0], "\\n";
        \$server->run();
        echo "done\\n";
        PHP]);
}

test('signal handlers of the application run while run() waits, and replace the default stop', function (): void {
    $server = with_code(<<<'PHP'
        pcntl_async_signals(true);
        pcntl_signal(SIGTERM, function () { echo "SIGTERM\n"; });
        pcntl_signal(SIGUSR1, function () { echo "SIGUSR1\n"; });
        pcntl_signal(SIGHUP, function () use ($server) { echo "SIGHUP\n"; $server->stop(); });
        PHP);
    $client = $server->open();
    $client->send('hello')->message();
    foreach ([10 => 'SIGUSR1', 15 => 'SIGTERM'] as $signal => $name) {
        $took = seconds(function () use ($server, $signal, $name): void {
            $server->signal($signal);
            $server->child->line("/^$name/");
        });
        check($took < 3.0, sprintf('%s took %.2f s', $name, $took));
    }
    same('still there', $client->send('still there')->message());
    $server->signal(1);
    same('1001', substr($client->closeCode(), 0, 4));
    $client->sendClose(1001);
    same(0, $server->child->wait(), 'exit status');
    check(str_contains($server->child->output, "done\n"), 'run() did not return');
});

test('an exception in a signal handler does not end the server silently', function (): void {
    $server = with_code(<<<'PHP'
        pcntl_async_signals(true);
        pcntl_signal(SIGUSR1, function () { throw new RuntimeException('from the signal handler'); });
        PHP);
    $server->signal(10);
    until(function () use ($server): bool {
        $server->child->take();
        return str_contains($server->child->output, 'from the signal handler');
    }, 'the exception is reported');
});

test('exit() in a signal handler ends the script with its status', function (): void {
    $server = with_code(<<<'PHP'
        pcntl_async_signals(true);
        pcntl_signal(SIGUSR1, fn () => exit(6));
        PHP);
    $client = $server->open();
    $server->signal(10);
    $client->ended();
    same(6, $server->child->wait(), 'exit status');
});

test('ignored signals stay ignored', function (): void {
    $server = with_code('pcntl_signal(SIGTERM, SIG_IGN);');
    $client = $server->open();
    $server->signal(15);
    usleep(200_000);
    same('still there', $client->send('still there')->message());
    $server->signal(9);
});

test('signals do not disturb the I/O threads', function (): void {
    $server = with_code('pcntl_async_signals(true); pcntl_signal(SIGUSR1, function () { $GLOBALS["n"] = 1 + ($GLOBALS["n"] ?? 0); });');
    $client = $server->open();
    for ($i = 0; $i < 300; $i++) {
        $server->signal(10);
        same("$i", $client->send("$i")->message());
    }
});

test('after run() signals have their previous effect', function (): void {
    $server = with_code(<<<'PHP'
        register_shutdown_function(function () { echo "waiting\n"; sleep(30); });
        $server->after(0.05, fn () => $server->stop());
        PHP);
    $server->child->line('/^waiting/');
    $server->child->signal(15);
    same(-15, $server->child->wait(5.0), 'end of the process');
});

test('set_time_limit() ends a server whose script has used up its time', function (): void {
    $server = with_code(<<<'PHP'
        set_time_limit(1);
        $server->every(0.001, function () { $until = hrtime(true) + 5e6; while (hrtime(true) < $until); });
        PHP);
    $took = seconds(fn () => same(255, $server->child->wait(60.0), 'exit status'));
    check(str_contains($server->child->output, 'Maximum execution time of 1 second exceeded'), $server->child->output);
});

test('set_time_limit() is honoured while run() waits', function (): void {
    // The limit counts the CPU time of the process. Only the I/O thread uses any, because PHP sleeps in run().
    $server = with_code(<<<'PHP'
        $server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(maxMessageSize: 1 << 30));
        set_time_limit(1);
        PHP);
    $client = $server->open()->frame(Client::BINARY, 'x', false);
    $fragments = str_repeat(Client::encode(Client::CONTINUATION, 'x', false), 2000);
    try {
        // Measured in CPU time of the process, up to five times the limit.
        while ($server->child->isRunning() && cpu_seconds($server->child->pid) < 5.0) {
            $client->raw($fragments);
            $client->take();
            $client->buffer = '';
        }
    } catch (RuntimeException) {
        // The server has ended.
    }
    same(255, $server->child->wait(5.0), 'exit status');
    check(str_contains($server->child->output, 'Maximum execution time of 1 second exceeded'), $server->child->output);
});

test('set_time_limit() does not end a server that is idle or runs for a long time', function (): void {
    $server = with_code('set_time_limit(1);');
    $client = $server->open();
    usleep(1_500_000);
    same('still there', $client->send('still there')->message());
});
