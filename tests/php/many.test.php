<?php

declare(strict_types=1);

// More than 1024 clients, which select() could not handle.

require __DIR__ . '/lib/bootstrap.php';

const CLIENTS = 1500;

$hard = trim(shell_exec('ulimit -H -n'));
if ($hard !== 'unlimited' && $hard < CLIENTS + 200) {
    skip(CLIENTS . ' clients', "the hard limit of descriptors is $hard");
    exit;
}

$loop = __DIR__ . '/servers/loop.php';
// Most systems start processes with this soft limit; the server must raise it.
$server = TestServer::command(['sh', '-c', 'ulimit -S -n 1024 && exec ' . Child::php() . " $loop select"]);
$children = [];

test(CLIENTS . ' clients are served by a process started with a limit of 1024 descriptors', function () use ($server, &$children): void {
    for ($i = 0; $i < CLIENTS / 500; $i++) {
        $children[] = Child::script(__DIR__ . '/clients/many.php', $server->address, '500');
    }
    foreach ($children as $child) {
        $child->line('/^open/', 60.0);
    }
    foreach ($children as $child) {
        fwrite($child->stdin, "go\n");
    }
    foreach ($children as $child) {
        $child->line('/^echoed/', 60.0);
    }
    $descriptors = count(scandir("/proc/{$server->child->pid}/fd")) - 2;
    check($descriptors > CLIENTS, "the server has $descriptors descriptors");
});

test('stream_select() still works in the script, even for newly opened streams', function () use ($server): void {
    $client = $server->open();
    $ticks = (int) $client->send('ticks')->message();
    same('selected', $client->send('select')->message());
    usleep(100_000);
    check((int) $client->send('ticks')->message() > $ticks, 'the loop has stopped');
});

test('all connections close when the clients leave', function () use ($server, &$children): void {
    foreach ($children as $child) {
        fclose($child->stdin);
        same(0, $child->wait(30.0), 'exit status of the clients');
    }
    until(fn (): bool => count(scandir("/proc/{$server->child->pid}/fd")) < 50, 'the sockets are closed', 20.0);
    $client = $server->open();
    same('hello', $client->send('hello')->message());
    same('1001', substr($client->send('stop')->closeCode(), 0, 4));
});
