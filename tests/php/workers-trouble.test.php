<?php

declare(strict_types=1);

// A server with workers whose processes cannot start, are stopped, or get unexpected signals.

require __DIR__ . '/lib/bootstrap.php';
require __DIR__ . '/lib/Node.php';

/** Sets the limit of descriptors of a process, and returns the previous one. */
function limit(int $pid, int $descriptors): int
{
    $before = (int) shell_exec("prlimit --pid $pid --nofile --output SOFT --noheadings");
    check($before > 0, 'prlimit (util-linux) is missing');
    exec("prlimit --pid $pid --nofile=$descriptors:", result_code: $status);
    same(0, $status, 'status of prlimit');
    return $before;
}

test('a process that cannot start is retried, reported once, and does not block a reload', function (): void {
    $node = Node::start(code: 'const VERSION = "one";');
    $clients = $node->clients(1, 2);
    $old = $node->who($clients[2])->pid;
    $go = sys_get_temp_dir() . '/sprocket-go-' . bin2hex(random_bytes(6));
    $node->change(<<<PHP
        const VERSION = "two";
        function extend(\$server) {
            \$server->onWorkerStart(function (\$server, \$worker) {
                echo "worker \$worker waits\\n";
                while (!file_exists('$go')) {
                    usleep(5000);
                    clearstatcache();
                }
            });
        }
        PHP);
    $failed = fn (string $who): string => "/^sprocket: $who cannot be started: Too many open files \(os error 24\); retrying$/";
    // The successor that a reload starts cannot be created.
    $descriptors = limit($node->pid, 4);
    $node->reload();
    $node->line($failed('the successor of worker 1'));
    same('one', $node->who($clients[1])->version);
    limit($node->pid, $descriptors);
    $node->line('/^sprocket: the successor of worker 1 was started/');
    $node->line('/^worker 1 waits$/');
    // While it starts, another worker dies and cannot be replaced.
    limit($node->pid, 4);
    posix_kill($old, 9);
    $node->line("/^sprocket: worker 2 \(process $old\) was killed by signal 9/");
    $node->line($failed('worker 2'));
    $clients[1]->send('sleep 0.5')->message(); // time for more attempts
    touch($go);
    same(1001, (int) $clients[1]->closeCode());
    $clients[1]->sendClose(1001)->ended();
    limit($node->pid, $descriptors);
    $node->line('/^sprocket: (the successor of )?worker 2 was started/');
    $node->line('/^sprocket: reloaded: generation 1 serves$/');
    foreach ($node->clients(1, 2) as $client) {
        same('two', $node->who($client)->version);
    }
    same(2, substr_count($node->server->child->output, 'cannot be started'), 'reports of failures');
    unlink($go);
    $node->stop();
});

test('SIGHUP sent repeatedly to the whole process group reloads, and ends no process', function (): void {
    // The signals begin before the first fork. Processes that execute the script again stay in the group.
    $code = sprintf(<<<'PHP'
        function extend($server) {
            if (posix_getpgrp() === %d) {
                posix_setpgid(0, 0);
            }
            $server->onStart(function ($server) {
                global $storm;
                $kill = 'for ($i = 0, $pid = posix_getppid(); posix_getppid() === $pid; $i++) {
                    posix_kill(-$pid, SIGHUP);
                    usleep(100);
                    $i === 1 && print("begun\n");
                }';
                $command = "trap '' HUP; exec " . escapeshellarg(PHP_BINARY) . ' -r ' . escapeshellarg($kill);
                $storm = proc_open($command, [1 => ['pipe', 'w']], $pipes);
                while (fgets($pipes[1]) === false) {
                    if (feof($pipes[1])) {
                        exit(1);
                    }
                }
                echo 'storm ', proc_get_status($storm)['pid'], "\n", $server->addresses()[0], "\n";
            });
        }
        PHP, posix_getpgrp());
    $node = Node::start(code: $code);
    try {
        $node->line('/^sprocket: reloaded: generation 2 serves$/', 30);
    } finally {
        same(1, preg_match('/^storm (\d+)$/m', $node->server->child->output, $m), 'process that sends it');
        posix_kill((int) $m[1], 9);
    }
    $output = &$node->server->child->output;
    until(function () use ($node, &$output): bool {
        $node->server->child->take();
        preg_match_all('/ reloading: generation (\d+) is started$/m', $output, $begun);
        return str_contains($output, 'reloaded: generation ' . end($begun[1]) . ' serves');
    }, 'the end of the last reload', 20);
    foreach (['was killed', 'aborted', 'starting another one', ' ended with status'] as $trouble) {
        check(!str_contains($output, $trouble), $output);
    }
    $node->clients(1, 2);
    $node->stop();
});

const ERRORS = <<<'PHP'
    function extend($server) {
        $server->onError(function ($error) use ($server) { echo "worker {$server->worker()}: {$error->getMessage()}\n"; });
    }
    PHP;

test('a stopped worker delays no other one, and learns that it has missed messages', function (): void {
    $node = Node::start(['workers' => 3], ERRORS);
    $clients = $node->clients(1, 2, 3);
    $pid = $node->who($clients[1])->pid;
    foreach ([1, 3] as $number) {
        $clients[$number]->send('subscribe news')->message();
    }
    // A few messages wait for the stopped worker.
    posix_kill($pid, SIGSTOP);
    $node->line("/^sprocket: worker 1 \(process $pid\) was stopped by signal 19 \(SIGSTOP\)$/");
    $clients[2]->send('publish news one')->message();
    same('one', $clients[3]->message());
    posix_kill($pid, SIGCONT);
    $node->line("/^sprocket: worker 1 \(process $pid\) was continued$/");
    same('one', $clients[1]->message());
    // More than 64 MiB exceed the queue, and the hub cuts the worker's connection.
    posix_kill($pid, SIGSTOP);
    $longest = 0.0;
    for ($i = 0; $i < 80; $i++) {
        $longest = max($longest, seconds(function () use ($clients): void {
            $clients[2]->send('fill news 1000000')->message();
            same(1_000_000, strlen($clients[3]->message()), 'bytes');
        }));
    }
    check($longest < 4, sprintf('the others were held up for %.1f s', $longest));
    until(function () use ($clients): bool {
        return json_decode($clients[2]->send('stats')->message(), true)['busCut'] === 1;
    }, 'the connection is cut');
    posix_kill($pid, SIGCONT);
    $node->line('/^worker 1: .*connection to the hub was lost.*: messages from other workers were missed/');
    // The worker takes part again.
    $clients[1]->send('publish news two');
    same('two', $clients[3]->message());
    $clients[2]->send('publish news three')->message();
    same('three', $clients[3]->message());
    $got = [];
    while (end($got) !== 'three') {
        $got[] = $clients[1]->message();
    }
    check(count($got) < 10, 'it got ' . count($got) . ' messages');
    check(in_array('two', $got, true), 'its own message is missing');
    // A worker that hangs in PHP takes part as well.
    $clients[1]->send('sleep 600');
    $clients[2]->send('publish news four')->message();
    same(['four', 'four'], [$clients[1]->message(), $clients[3]->message()]);
    // The shutdown also ends this worker, although it is stopped.
    posix_kill($pid, SIGSTOP);
    $node->server->child->signal(15);
    same(1001, (int) $clients[3]->closeCode());
    $node->server->child->signal(15);
    same(0, $node->server->child->wait(), 'exit status');
    check(str_contains($node->server->child->output, 'did not end in time and is killed'), $node->server->child->output);
});

test('the hub releases memory after a burst of publications', function (): void {
    // The history of the topic `feed` lies between the released messages in memory.
    $node = Node::start(code: <<<'PHP'
        function extend($server) {
            $server->onPong(function () use ($server) {
                for ($i = 0; $i < 30_000; $i++) {
                    $server->publish($i % 300 ? 'news' : 'feed', str_repeat('x', 1500));
                }
            });
        }
        PHP, more: ['history' => 1000]);
    $resident = function (int $pid): float {
        preg_match('/VmRSS:\s+(\d+)/', file_get_contents("/proc/$pid/status"), $match);
        return $match[1] / 1024;
    };
    $clients = $node->clients(1, 2);
    [$hub, $pid] = [$node->hub(), $node->who($clients[2])->pid];
    $before = $resident($hub);
    posix_kill($pid, SIGSTOP);
    $clients[1]->frame(Client::PONG, 'burst');
    until(fn (): bool => $resident($hub) > $before + 25, '25 MiB wait in the hub');
    posix_kill($pid, SIGCONT);
    until(fn (): bool => $resident($hub) < $before + 12, 'the hub releases memory', 30);
    $node->stop();
});

test('SIGTERM shuts down even stopped processes gracefully', function (): void {
    $node = Node::start();
    $clients = $node->clients(1, 2);
    foreach ($node->children() as $pid) {
        posix_kill($pid, SIGSTOP);
    }
    $node->server->child->signal(15);
    foreach ($clients as $client) {
        same('1001 the server is shutting down', $client->closeCode());
        $client->sendClose(1001)->ended();
    }
    same(0, $node->server->child->wait(), 'exit status');
    check(!str_contains($node->server->child->output, 'is killed'), $node->server->child->output);
});

$name = 'privileges dropped in onStart are dropped in the workers, which still reach the hub';
if (posix_geteuid() !== 0) {
    skip($name, 'only root has privileges to drop');
} else {
    test($name, function (): void {
        $node = Node::start(code: <<<'PHP'
            function extend($server) {
                $server->onStart(function ($server) {
                    putenv('TMPDIR=/tmp'); // which every user can write to
                    posix_setgid(65534);
                    posix_setuid(65534);
                    echo $server->addresses()[0], "\n";
                });
            }
            PHP);
        $clients = $node->clients(1, 2);
        same("$ 65534\n", $clients[1]->send('run id -u')->message());
        $clients[1]->send('subscribe news')->message();
        $clients[2]->send('publish news hello')->message();
        same('hello', $clients[1]->message());
        $node->stop();
        same([], glob("/tmp/sprocket-$node->pid-*"), 'leftover files of the hub');
    });
}

test('a worker that hangs when its master is killed frees the port at once, and ends', function (): void {
    $node = Node::start();
    $clients = $node->clients(1, 2);
    $children = $node->children();
    $port = parse_url($node->server->address, PHP_URL_PORT);
    // The answer leaves while PHP sleeps.
    $clients[1]->raw(Client::encode(Client::TEXT, 'who') . Client::encode(Client::TEXT, 'sleep 120'))->message();
    posix_kill($node->pid, 9);
    until(function () use ($port): bool {
        $stream = @stream_socket_client("tcp://127.0.0.1:$port", $code, $message, 1.0);
        return $stream === false || !fclose($stream);
    }, 'the port is free');
    // The worker's I/O threads still serve, and close the connection properly.
    same(1001, (int) $clients[1]->closeCode());
    until(fn (): bool => !array_filter($children, is_running(...)), 'all processes have ended', 20.0);
});

$name = 'a worker whose I/O thread has died reports it, ends with status 1, and is replaced';
if (!extension_loaded('ffi')) {
    skip($name, 'the extension FFI is missing');
} else {
    test($name, function (): void {
        $node = Node::start(code: <<<'PHP'
            function extend($server) {
                // The runtime of an I/O thread panics when epoll_wait(2) fails on its descriptor.
                $server->onPong(function () {
                    $libc = FFI::cdef('int open(const char *, int); int dup2(int, int);');
                    $null = $libc->open('/dev/null', 2);
                    foreach (glob('/proc/self/fd/*') as $file) {
                        if (@readlink($file) === 'anon_inode:[eventpoll]') {
                            $libc->dup2($null, (int) basename($file));
                        }
                    }
                });
                $server->onClose(function ($connection, $code, $reason) use ($server) {
                    echo "worker {$server->worker()} close $code $reason\n";
                });
            }
            PHP);
        $clients = $node->clients(1, 2);
        $old = $node->who($clients[1])->pid;
        $clients[2]->send('subscribe news')->message();
        $clients[1]->frame(Client::PONG, 'break');
        $clients[1]->ended();
        $node->line("/^worker 1 close 1006 /");
        $node->line('/^worker 1 stops$/');
        $node->line('/^sprocket: worker 1 ends: an I\/O thread /');
        $node->line("/^sprocket: worker 1 \(process $old\) ended with status 1; starting another one in [\d.]+ s$/");
        // The other worker and the hub are unaffected.
        $successor = $node->clients(1)[1];
        check($node->who($successor)->pid !== $old, 'the old worker still serves');
        $successor->send('publish news hello')->message();
        same('hello', $clients[2]->message());
        $node->stop();
    });
}
