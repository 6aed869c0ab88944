<?php

declare(strict_types=1);

// A server with workers: serving, the death of a worker, stopping, and reloading.

require __DIR__ . '/lib/bootstrap.php';
require __DIR__ . '/lib/Node.php';

test('all workers serve one port, and each knows its own number', function (): void {
    $node = Node::start(['workers' => 3]);
    $seen = $random = [];
    foreach ($node->clients(1, 2, 3) as $number => $client) {
        $who = $node->who($client);
        same([$node->server->address], $who->addresses, 'addresses()');
        $seen[$number] = $who->pid;
        $random[] = $who->random;
    }
    same(3, count(array_unique($seen)), 'processes');
    check(!in_array($node->pid, $seen), 'the master serves');
    same(3, count(array_unique($random)), 'different random numbers');
    same(4, count($node->children()), 'workers and hub');
});

test('SIGTERM closes all connections with 1001 and ends with status 0', function (): void {
    $node = Node::start();
    $children = $node->children();
    $clients = $node->clients(1, 2);
    $node->server->child->signal(15);
    foreach ($clients as $client) {
        same('1001 the server is shutting down', $client->closeCode());
        $client->sendClose(1001)->ended();
    }
    same(0, $node->server->child->wait(), 'exit status');
    $output = $node->server->child->output;
    foreach (['/^worker 1 stops$/m', '/^worker 2 stops$/m', '/^done$/m'] as $line) {
        same(1, preg_match_all($line, $output), "$line in $output");
    }
    same(3, preg_match_all('/^end \d+$/m', $output), "ends of PHP processes in $output");
    check(!str_contains($output, 'sprocket:'), "complaints: $output");
    same([], array_values(array_filter($children, is_running(...))), 'processes that still run');
    same([], glob(sys_get_temp_dir() . "/sprocket-$node->pid-*"), 'leftover files of the hub');
});

test('a service manager that signals every process shuts them down gracefully', function (): void {
    $node = Node::start();
    $clients = $node->clients(1, 2);
    foreach ([...$node->children(), $node->pid] as $pid) {
        posix_kill($pid, 15);
    }
    foreach ($clients as $client) {
        same(1001, (int) $client->closeCode());
        $client->sendClose(1001)->ended();
    }
    same(0, $node->server->child->wait(), 'exit status');
});

test('a second signal cuts all connections at once, and kills a busy worker', function (): void {
    $node = Node::start(['closeTimeout' => 60.0]);
    $clients = $node->clients(1, 2);
    $clients[1]->send('sleep 60');
    $node->server->child->signal(15);
    same(1001, (int) $clients[2]->closeCode());
    $took = seconds(function () use ($node): void {
        $node->server->child->signal(15);
        same(0, $node->server->child->wait(), 'exit status');
    });
    check($took < 5, sprintf('it took %.1f s', $took));
    $output = $node->server->child->output;
    check(str_contains($output, 'worker 1 ') && str_contains($output, 'did not end in time and is killed'), $output);
});

test('stop() in one worker stops the whole server', function (): void {
    $node = Node::start();
    $clients = $node->clients(1, 2);
    $clients[1]->send('stop');
    same('1001 the server is shutting down', $clients[2]->closeCode());
    array_map(fn (Client $c): Client => $c->sendClose(1001), $clients);
    same(0, $node->server->child->wait(), 'exit status');
    check(!str_contains($node->server->child->output, 'starting another one in'), $node->server->child->output);
});

test('a killed worker is replaced, the others are undisturbed, and new clients wait', function (): void {
    $node = Node::start();
    $clients = $node->clients(1, 2);
    $pid = $node->who($clients[1])->pid;
    posix_kill($pid, 9);
    // Some connections enter the queue of the dead worker, and are served by its successor.
    $waiting = array_map(fn (): Client => $node->server->connect(), range(1, 16));
    $clients[1]->ended();
    $node->line("/^sprocket: worker 1 \(process $pid\) was killed by signal 9 \(SIGKILL\); starting another one/");
    $numbers = array_map(fn (Client $c): int => $node->who($c->open())->worker, $waiting);
    check(in_array(2, $numbers), 'none of 16 connections came to the other worker');
    $again = $node->clients(1, 2);
    check($node->who($again[1])->pid !== $pid, 'the same process');
    same('still there', $clients[2]->send('still there')->message());
});

test('exit() in a callback ends a worker after its shutdown functions, and the worker is replaced', function (): void {
    $node = Node::start();
    $client = $node->clients(2)[2];
    $pid = $node->who($client)->pid;
    $client->send('exit 6')->ended();
    $node->line("/^end $pid$/");
    $node->line("/^sprocket: worker 2 \(process $pid\) ended with status 6; starting another one/");
    $node->line('/^worker 2 \d+ starts$/');
    $node->stop();
});

test('SIGTERM to one worker shuts it down gracefully, and it is replaced', function (): void {
    $node = Node::start();
    $clients = $node->clients(1, 2);
    $pid = $node->who($clients[1])->pid;
    posix_kill($pid, 15);
    same(1001, (int) $clients[1]->closeCode());
    $clients[1]->sendClose(1001)->ended();
    $node->line('/^worker 1 stops$/');
    $node->line("/^sprocket: worker 1 \(process $pid\) ended with status 0; starting another one/");
    $node->line('/^worker 1 \d+ starts$/');
    same('still there', $clients[2]->send('still there')->message());
});

test('all processes end after the death of the master', function (): void {
    $node = Node::start();
    $children = $node->children();
    $clients = $node->clients(1, 2);
    posix_kill($node->pid, 9);
    foreach ($clients as $client) {
        same(1001, (int) $client->closeCode());
        $client->sendClose(1001)->ended();
    }
    until(fn (): bool => !array_filter($children, is_running(...)), 'all processes have ended');
    until(fn (): bool => !glob(sys_get_temp_dir() . "/sprocket-$node->pid-*"), 'the hub\'s folder is removed');
});

test('a publication from one worker reaches the subscribers of all, even after the hub has been replaced', function (): void {
    $node = Node::start();
    $clients = $node->clients(1, 2);
    foreach ($clients as $client) {
        $client->send('subscribe news')->message();
    }
    $round = function (string $name) use ($clients): void {
        foreach ($clients as $from => $client) {
            $client->send("publish news $name.$from")->message();
            $clients[3 - $from]->wait(fn (): bool => str_contains($clients[3 - $from]->buffer, "$name.$from"), "$name.$from");
            array_map(fn (Client $c): string => $c->buffer = '', $clients);
        }
    };
    foreach ($clients as $from => $client) {
        $client->send("broadcast hello$from");
        same("hello$from", $clients[3 - $from]->message(), 'broadcast');
        $client->message();
        $client->message();
    }
    $round('first');
    $hub = $node->hub();
    posix_kill($hub, 9);
    $node->line("/^sprocket: the hub \(process $hub\) was killed by signal 9 \(SIGKILL\); starting another one$/");
    until(fn (): bool => count($node->children()) === 3, 'a new hub');
    $round('second');
});

test('stats() in a worker returns the sums of all workers, and lists each one', function (): void {
    $node = Node::start();
    $clients = $node->clients(1, 2);
    array_map(fn (Client $c): string => $c->send('hello')->message(), $clients);
    until(function () use ($clients, &$stats): bool {
        $stats = json_decode($clients[2]->send('stats')->message(), true);
        return $stats['connections'] === 2;
    }, 'two connections in all');
    same(2, $stats['worker'], 'number of the worker');
    $each = array_column($stats['workers'], null, 'worker');
    ksort($each);
    same([1, 2], array_keys($each), 'numbers');
    same([1, 1], array_column($each, 'connections'), 'connections');
    same($stats['messagesIn'], array_sum(array_column($each, 'messagesIn')), 'messagesIn');
});

test('the publish socket serves for all workers, and outlives them', function (): void {
    $path = sys_get_temp_dir() . '/sprocket-' . bin2hex(random_bytes(6)) . '.sock';
    $node = Node::start(['publishSocket' => $path], code: '');
    $code = '$p = new Sprocket\Publisher($argv[1]); while ($line = fgets(STDIN)) { $p->publish("news", trim($line)); echo "published\n"; }';
    $publisher = Child::code($code, "unix://$path");
    for ($generation = 0; $generation < 2; $generation++) {
        $clients = $node->clients(1, 2);
        foreach ($clients as $client) {
            $client->send('subscribe news')->message();
        }
        fwrite($publisher->stdin, "hello $generation\n");
        $publisher->line('/^published$/');
        foreach ($clients as $client) {
            same("hello $generation", $client->message());
        }
        if ($generation === 0) {
            $node->reload();
            $node->line('/^sprocket: reloaded/');
            until(fn (): bool => count($node->children()) === 3, 'the old workers have ended');
        }
    }
    $node->stop();
    check(!file_exists($path), 'the socket file still exists');
});

test('SIGHUP switches to the code on disk, and refuses no client meanwhile', function (): void {
    $node = Node::start(code: 'const VERSION = "one";');
    $old = $node->clients(1, 2);
    same('one', $node->who($old[1])->version);
    $node->change('const VERSION = "two";');
    $node->reload();
    $node->line('/^sprocket: reloading: generation 1 is started$/');
    $node->reload(); // during a reload: another one follows, because the code may have changed again
    $versions = [];
    $codes = [];
    $deadline = microtime(true) + 20;
    do {
        // Each client gets a handshake, and then an answer or a close with a reason.
        $client = $node->server->connect();
        $client->open();
        $client->send('who');
        $frame = $client->read();
        if ($frame->opcode === Client::CLOSE) {
            $codes[] = unpack('n', $frame->payload)[1] . ' ' . substr($frame->payload, 2);
        } else {
            $versions[] = json_decode($frame->payload)->version;
        }
        $client->drop();
        $node->server->child->take();
    } while (!str_contains($node->server->child->output, 'reloaded: generation 2 serves') && microtime(true) < $deadline);
    $node->line('/^sprocket: reloaded: generation 1 serves$/');
    $node->line('/^sprocket: reloaded: generation 2 serves$/');
    foreach ($old as $client) {
        same('1001 the server is restarting', $client->closeCode());
        $client->sendClose(1001)->ended();
    }
    check(in_array('one', $versions), 'no client was served before the reload: ' . implode(' ', $versions));
    same([], array_values(array_diff($codes, ['1001 the server is restarting'])), 'closes');
    until(fn (): bool => count($node->children()) === 3, 'the old workers have ended');
    foreach ($node->clients(1, 2) as $number => $client) {
        $who = $node->who($client);
        same([$number, 'two', [$node->server->address]], [$who->worker, $who->version, $who->addresses], 'new worker');
        // A child process of a worker must not take itself for a worker, nor inherit its sockets.
        same('$', trim($client->send('run env | grep ^SPROCKET_WORKER || true')->message()), 'environment');
        $open = trim($client->send('run ls -l /proc/self/fd')->message());
        same(0, substr_count($open, 'socket:'), "sockets inherited by a child: $open");
    }
    // A worker that dies later is replaced with the code then on disk.
    $node->change('const VERSION = "three";');
    posix_kill($node->who($node->clients(1)[1])->pid, 9);
    $node->line('/^worker 1 \d+ starts$/');
    same('three', $node->who($node->clients(1)[1])->version);
    $node->stop();
});

test('a reload to broken code is aborted, and the old workers stay', function (): void {
    $node = Node::start(code: 'const VERSION = "one";');
    $clients = $node->clients(1, 2);
    foreach (['this is no PHP', 'function extend($server) { $server->onWorkerStart(fn () => throw new Exception("not today")); }'] as $code) {
        $node->change($code);
        $node->reload();
        $node->line('/^sprocket: reload aborted: the new worker 1 ended with status 255 before it was ready; all workers continue unchanged$/');
    }
    foreach ([...$clients, ...$node->clients(1, 2)] as $client) {
        same('one', $node->who($client)->version);
    }
    $node->change('const VERSION = "two";');
    $node->reload();
    $node->line('/^sprocket: reloaded: generation \d serves$/');
    until(fn (): bool => count($node->children()) === 3, 'the old workers have ended');
    same('two', $node->who($node->clients(2)[2])->version);
});

test('a script that cannot be read again is not reloaded', function (): void {
    $code = '$s = new Sprocket\Server("ws://127.0.0.1:0", new Sprocket\Options(workers: 2));'
        . '$s->onStart(fn ($s) => print($s->addresses()[0] . "\n")); $s->onMessage(fn ($c, $m) => $c->send($m)); $s->run();';
    $file = tempnam(sys_get_temp_dir(), 'sprocket');
    file_put_contents($file, "<?php $code");
    $server = TestServer::command(['sh', '-c', 'exec ' . Child::php() . ' < "$1"', '-', $file]);
    unlink($file);
    $server->lives();
    $server->child->signal(1);
    $server->child->line('/^sprocket: reload refused, because the script was read from the standard input/');
    $server->lives();
    same(0, $server->stop(), 'exit status');
});

test('a worker is replaced after maxRequests, and after its memory exceeds maxMemory', function (): void {
    foreach ([['maxRequests' => 60], ['maxMemory' => 8 << 20]] as $options) {
        $node = Node::start($options);
        $clients = $node->clients(1, 2);
        $pid = $node->who($clients[1])->pid;
        // The worker serves until its successor is ready.
        $say = isset($options['maxMemory']) ? 'keep 1000000' : 'hello';
        for ($i = 0; ($frame = $clients[1]->send($say)->read())->opcode !== Client::CLOSE; $i++) {
            isset($options['maxMemory']) && usleep(10_000); // keeps the total memory small
        }
        check($i > 4, "closed after $i messages");
        same('1001 the server is restarting', unpack('n', $frame->payload)[1] . ' ' . substr($frame->payload, 2));
        $clients[1]->sendClose(1001)->ended();
        until(fn (): bool => !is_running($pid), 'the old worker has ended');
        $node->clients(1);
        if (isset($options['maxMemory'])) {
            same('still there', $clients[2]->send('still there')->message());
        }
        check(!str_contains($node->server->child->output, 'sprocket:'), $node->server->child->output);
    }
});

test('workers that cannot start make run() throw', function (): void {
    $child = Child::code('$s = new Sprocket\Server("ws://127.0.0.1:0", new Sprocket\Options(workers: 2));'
        . '$s->onWorkerStart(fn () => throw new Exception("no database")); $s->run();');
    same(255, $child->wait(), 'exit status');
    foreach (['no database', 'Sprocket\WorkerException: No worker could be started; the last one ended with status 255'] as $words) {
        check(str_contains($child->output, $words), $child->output);
    }
});

test('a Unix socket is shared by all workers, and the master removes its file', function (): void {
    $path = sys_get_temp_dir() . '/sprocket-' . bin2hex(random_bytes(6)) . '.sock';
    $node = Node::start(more: ['listen' => "unix://$path?mode=0600"], code: '');
    same("unix://$path", $node->server->address);
    $clients = $node->clients(1);
    $node->reload();
    $node->line('/^sprocket: reloaded/');
    same('1001 the server is restarting', $clients[1]->closeCode());
    $node->clients(2);
    check(file_exists($path), 'a worker has removed the socket file');
    $node->stop();
    check(!file_exists($path), 'the socket file still exists');
});

test('output buffered before run() is printed once', function (): void {
    $server = TestServer::command(['@php@', '-r', 'ob_start(); echo "before\n";'
        . '$s = new Sprocket\Server("ws://127.0.0.1:0", new Sprocket\Options(workers: 2));'
        . '$s->onStart(fn ($s) => print($s->addresses()[0] . "\n")); $s->onMessage(fn ($c, $m) => $c->send($m)); $s->run();']);
    $server->lives();
    same(0, $server->stop(), 'exit status');
    same(1, substr_count($server->child->output, 'before'), $server->child->output);
});

test('signal handlers of the script run in the master, and stop() there stops all workers', function (): void {
    $node = Node::start(code: <<<'PHP'
        function extend($server) {
            pcntl_async_signals(true);
            pcntl_signal(SIGUSR1, function () { echo "SIGUSR1 in " . getmypid() . "\n"; });
            pcntl_signal(SIGTERM, function () use ($server) { echo "SIGTERM in " . getmypid() . "\n"; $server->stop(); });
        }
        PHP);
    $clients = $node->clients(1, 2);
    $node->server->child->signal(10);
    $node->line("/^SIGUSR1 in $node->pid$/");
    $pid = $node->who($clients[1])->pid;
    posix_kill($pid, 10);
    $node->line("/^SIGUSR1 in $pid$/");
    $node->server->child->signal(15);
    $node->line("/^SIGTERM in $node->pid$/");
    foreach ($clients as $client) {
        same(1001, (int) $client->closeCode());
        $client->sendClose(1001)->ended();
    }
    same(0, $node->server->child->wait(), 'exit status');
});

test('a server refuses a port on which another server already listens', function (): void {
    $node = Node::start();
    $code = '(new Sprocket\Server($argv[1], new Sprocket\Options(workers: 2)))->run();';
    $second = Child::code($code, $node->server->address);
    same(255, $second->wait(), 'exit status');
    check(str_contains($second->output, 'Sprocket\BindException: Cannot listen on ' . $node->server->address), $second->output);
});
