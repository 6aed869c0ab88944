<?php

declare(strict_types=1);

// Log lines of a master and its workers, and about TLS, PROXY headers, and failed accepts.

require __DIR__ . '/lib/bootstrap.php';
require __DIR__ . '/lib/Certificates.php';

/** A server that logs, with its log lines. */
final class Logging
{
    public readonly Child $child;
    public readonly string $address;

    /** @var list<array{int, string, string, array}> */
    public array $lines = [];

    public function __construct(array $options, string $shell = '')
    {
        $json = json_encode($options, JSON_PRESERVE_ZERO_FRACTION);
        $command = 'exec ' . Child::php() . ' ' . escapeshellarg(__DIR__ . '/servers/logger.php') . ' ' . escapeshellarg($json);
        $this->child = new Child(['sh', '-c', $shell . $command]);
        $this->address = $this->line('server.started')[3]['addresses'][0];
    }

    /** The next line of an event, with these details in its context. Keeps the lines before it in $lines. */
    public function line(string $event, array $details = []): array
    {
        do {
            $line = json_decode($this->child->line('/^\[/'), true, flags: JSON_THROW_ON_ERROR);
            $this->lines[] = $line;
        } while ($line[3]['event'] !== $event || array_intersect_key($line[3], $details) !== $details);
        return $line;
    }

    public function client(array $context = []): Client
    {
        return new Client($this->address, null, $context);
    }

    /** Reads lines until $count of them satisfy a condition. */
    public function lines(int $count, callable $condition): void
    {
        while (count(array_filter($this->lines, $condition)) < $count) {
            $this->lines[] = json_decode($this->child->line('/^\[/'), true, flags: JSON_THROW_ON_ERROR);
        }
    }

    /** Checks that all output consists of log lines. */
    public function onlyLines(): void
    {
        foreach (explode("\n", trim($this->child->output)) as $text) {
            check(str_starts_with($text, '['), "this is not a log line: $text");
        }
    }

    /** Ends all processes, also those of a failed test. */
    public function __destruct()
    {
        if ($this->child->isRunning()) {
            $this->child->signal(15);
            try {
                $this->child->wait(10.0);
            } catch (RuntimeException) {
                // The destructor of Child kills it.
            }
        }
    }
}

test('a master logs the start, death, reload and end of its workers, and writes nothing to standard error', function (): void {
    $server = new Logging(['workers' => 2, 'closeTimeout' => 0.5]);
    $master = $server->child->pid;
    [$pid, $level, $message, $context] = $server->lines[0];
    same([$master, 'info', 2, $master], [$pid, $level, $context['workers'], $context['process']], 'the start of the master');
    check(str_contains($message, ' with 2 workers'), $message);
    check(!isset($context['worker']), 'the master has a number');
    $workers = [];
    while (count($workers) < 2) {
        $line = $server->line('worker.started');
        same([$master, 'info'], [$line[0], $line[1]], 'process and level');
        $workers[$line[3]['worker']] = $line[3]['process'];
    }
    ksort($workers);
    same([1, 2], array_keys($workers), 'workers');
    $server->lines(2 + 1, fn (array $line): bool => $line[3]['event'] === 'server.started');
    foreach ($workers as $number => $process) {
        $own = array_filter($server->lines, fn (array $line): bool => $line[0] === $process && $line[3]['event'] === 'server.started');
        same([$number], array_values(array_map(fn (array $line): int => $line[3]['worker'], $own)), 'lines about the start of a worker');
    }

    posix_kill($workers[2], 9);
    [$pid, $level, $message, $context] = $server->line('worker.ended');
    same([$master, 'error', 2, $workers[2]], [$pid, $level, $context['worker'], $context['process']], 'the death of a worker');
    check(str_starts_with($message, "Worker 2 (process $workers[2]) was killed by signal 9"), $message);
    $server->line('worker.started', ['worker' => 2]);

    $server->child->signal(1);
    same('notice', $server->line('reload.started')[1], 'level');
    // Lines of different processes arrive in any order.
    $server->lines(1, fn (array $line): bool => $line[3]['event'] === 'reload.finished' && $line[0] === $master);
    $server->lines(2, fn (array $line): bool => $line[3]['event'] === 'worker.draining' && $line[0] !== $master);
    $server->lines(2, fn (array $line): bool => $line[3]['event'] === 'worker.drained');

    $server->child->signal(15);
    $server->lines(1, fn (array $line): bool => $line[0] === $master && $line[3]['event'] === 'server.stopping');
    same(0, $server->child->wait(), 'exit status');
    $server->lines(1, fn (array $line): bool => $line[2] === 'Stopped: all workers have ended');
    $server->onlyLines();
});

test('a refused handshake is logged by the worker that received it', function (): void {
    $server = new Logging(['workers' => 2]);
    $server->line('worker.started');
    $client = $server->client();
    $client->raw($client->upgradeRequest(['Origin' => 'https://evil.example']))->response();
    [$pid, $level, , $context] = $server->line('handshake.refused');
    check($pid !== $server->child->pid, 'the master wrote it');
    same(['warning', 'origins', true], [$level, $context['option'], in_array($context['worker'], [1, 2], true)], 'level, option, worker');
});

test('failed accepts are logged', function (): void {
    $server = new Logging([]);
    // With this limit every new descriptor number would be too high.
    exec("prlimit --pid {$server->child->pid} --nofile=4:", result_code: $status);
    same(0, $status, 'status of prlimit (util-linux)');
    $client = $server->client();
    [, $level, $message, $context] = $server->line('accept.failed');
    same('error', $level, 'level');
    same("A connection cannot be accepted: $context[reason]", $message, 'message');
    check(str_contains($context['reason'], 'Too many open files'), $context['reason']);
    $client->drop();
});

test('failed TLS handshakes are logged, and so are reloads of certificates, successful or not', function (): void {
    $certificates = new Certificates();
    $files = $certificates->issue('localhost');
    $server = new Logging(['listen' => 'wss://127.0.0.1:0', 'tls' => $files]);
    $plain = new Client(preg_replace('/^wss/', 'ws', $server->address));
    $plain->raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n")->ended();
    [, $level, , $context] = $server->line('tls.failed');
    same(['info', '127.0.0.1'], [$level, $context['remoteAddress']], 'level and address');

    $context = ['ssl' => ['verify_peer' => false, 'verify_peer_name' => false]];
    $client = $server->client($context)->open();
    $client->send('reloadTls')->message();
    same('notice', $server->line('tls.reloaded')[1], 'level');
    file_put_contents($files['certificate'], 'nonsense');
    $client->send('reloadTls');
    [, $level, $message] = $server->line('tls.reload_failed');
    same('error', $level, 'level');
    check(str_contains($message, $files['certificate']), $message);
});

test('a server without TLS does not log that certificates were reloaded', function (): void {
    $server = new Logging([]);
    $server->client()->open()->send('reloadTls')->message();
    $server->child->signal(15);
    $server->line('server.stopping');
    same([], array_filter($server->lines, fn (array $line): bool => str_starts_with($line[3]['event'], 'tls.')), 'lines');
});

test('a PROXY header from a stranger is logged with the deciding option', function (): void {
    $server = new Logging(['listen' => 'ws://127.0.0.1:0?proxyProtocol', 'trustedProxies' => ['10.0.0.1']]);
    $server->client()->raw("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n")->ended();
    [, $level, , $context] = $server->line('proxy.failed');
    same(['warning', 'trustedProxies'], [$level, $context['option']], 'level and option');
});

test('docs/logging.md lists exactly the events that exist', function (): void {
    $root = dirname(__DIR__, 2);
    preg_match_all('/`(([a-z0-9]+)\.[a-z_]+)`/', file_get_contents("$root/docs/logging.md"), $found);
    $listed = array_unique($found[1]);
    check(count($listed) > 50, 'only ' . count($listed) . ' events are listed');
    // Finds events by a subject that the page lists, or after a level.
    $subjects = implode('|', array_unique($found[2]));
    $patterns = [
        'rs' => "/\"((?:$subjects)\.[a-z_]+)\"|Level::\w+,\s*\"([a-z0-9]+\.[a-z_]+)\"/",
        'php' => "/'((?:$subjects)\.[a-z_]+)'|Log::\w+\(\s*'\w+',\s*'([a-z0-9]+\.[a-z_]+)'/",
    ];
    $events = [];
    foreach (array_filter(["$root/src", "$root/crates", "$root/php/ratchet/src"], is_dir(...)) as $folder) {
        $files = new RecursiveIteratorIterator(new RecursiveDirectoryIterator($folder, FilesystemIterator::SKIP_DOTS));
        foreach ($files as $file) {
            $pattern = $patterns[$file->getExtension()] ?? null;
            if ($pattern !== null) {
                preg_match_all($pattern, file_get_contents($file->getPathname()), $found);
                $events = [...$events, ...$found[1], ...$found[2] ?? []];
            }
        }
    }
    // These look like events, but are sockets and a PHP setting.
    $events = array_unique(array_diff(array_filter($events), ['hub.sock', 'publish.sock', 'session.name']));
    same([], array_values(array_diff($events, $listed)), 'undocumented events');
    same([], array_values(array_diff($listed, $events)), 'documented events that do not exist');
});

test("the logger printed in the guide runs", function (): void {
    preg_match('/```php\n(.*?)```/s', file_get_contents(dirname(__DIR__, 2) . '/docs/logging.md'), $code);
    $child = Child::code(str_replace('127.0.0.1:8080', '127.0.0.1:0', $code[1]) . '$server->start(); $server->stop(); $server->run();');
    same(0, $child->wait(), 'exit status');
    check(preg_match('~^info: Listening on ws://127.0.0.1:\d+\ninfo: Stopping: 0 .*\ninfo: Stopped: ~', $child->output) === 1, $child->output);
});
