<?php

declare(strict_types=1);

// A short run of the server under valgrind: no invalid memory access, and no leak that grows with connections.

require __DIR__ . '/lib/bootstrap.php';

if (!shell_exec('command -v valgrind')) {
    skip('valgrind', 'is not installed');
    exit;
}

const OPTIONS = ['--leak-check=full', '--show-leak-kinds=definite', '--num-callers=25', '--error-limit=no'];

/** The valgrind report of a server that has served $clients clients. */
function report(int $clients): string
{
    $log = tempnam(sys_get_temp_dir(), 'sprocket-valgrind');
    $server = TestServer::command(
        ['valgrind', ...OPTIONS, "--log-file=$log", '@php@', '-d', 'pcre.jit=0', __DIR__ . '/servers/memory.php', (string) $clients],
        // valgrind does not see PHP's own allocations, and can name only functions of loaded modules.
        ['USE_ZEND_ALLOC' => '0', 'ZEND_DONT_UNLOAD_MODULES' => '1'],
        timeout: 120.0,
    );
    for ($i = 0; $i < $clients; $i++) {
        serve($server, $i);
    }
    same(0, $server->child->wait(120.0), 'exit status');
    check(str_contains($server->child->output, "done\n"), $server->child->output);
    $report = file_get_contents($log);
    unlink($log);
    return $report;
}

/** Runs one client; they differ in behaviour by $i. */
function serve(TestServer $server, int $i): void
{
    if ($i % 5 === 0) {
        $server->connect()->raw("POST /path HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody")->response(30.0);
        foreach (['/reject', '/throw'] as $path) {
            $client = $server->connect();
            $client->raw($client->upgradeRequest(['Cookie' => 'a=1'], $path))->response(30.0);
        }
        $server->connect()->raw("nonsense\r\n\r\n")->ended(30.0);
    }
    $client = $server->connect();
    $client->raw($client->upgradeRequest(['Cookie' => 'a=1; b=2', 'Sec-WebSocket-Protocol' => 'a, b'], $i % 2 ? '/later' : '/?x[]=1'));
    same(101, $client->response(30.0)->status);
    same('welcome', $client->message(30.0));
    same('hello', $client->frame(Client::PONG, '?')->send('hello')->message(30.0));
    same(50_000, strlen($client->frame(Client::BINARY, str_repeat("\xff", 50_000))->message(30.0)));
    same('timer', $client->send('timer')->message(30.0));
    same('error', $client->send('throw')->message(30.0));
    match ($i % 5) {
        0 => $client->close(),
        1 => $client->drop(),
        2 => $client->send('close')->closeCode(30.0) && $client->sendClose(4000)->ended(30.0),
        3 => $client->send('cut')->ended(30.0),
        4 => $client->send("not UTF-8 \xff")->ended(30.0),
    };
}

function lost(string $report): int
{
    return preg_match('/definitely lost: ([\d,]+) bytes/', $report, $m) ? (int) str_replace(',', '', $m[1]) : 0;
}

$reports = [];
test('a server that has served 20 clients makes no invalid memory access', function () use (&$reports): void {
    $reports[20] = report(20);
    check(!preg_match('/^.*(Invalid (read|write|free)|uninitialised|Mismatched free|overlap).*$/m', $reports[20], $m), explain($reports[20]));
});

test('leaks do not grow with the number of connections', function () use (&$reports): void {
    check(isset($reports[20]), 'the report for 20 clients is missing');
    $reports[60] = report(60);
    [$few, $many] = [lost($reports[20]), lost($reports[60])];
    check($many <= $few, "definitely lost: $few bytes with 20 clients, $many with 60\n" . explain($reports[60]));
});

/** The first error in a report. */
function explain(string $report): string
{
    $report = preg_replace('/^==\d+== ?/m', '', $report);
    $start = preg_match('/Invalid|uninitialised|Mismatched|definitely lost in/', $report, $m, PREG_OFFSET_CAPTURE) ? $m[0][1] : 0;
    return substr($report, max(0, $start - 100), 2500);
}
