<?php

declare(strict_types=1);

// Reloads under load. Clients that reconnect with their last position miss no message.

use Sprocket\{PublishException, Publisher};

if (!extension_loaded('sprocket')) {
    // This process is itself the publisher, so it loads the extension.
    pcntl_exec(PHP_BINARY, ['-d', 'extension=' . getenv('SPROCKET_SO'), __FILE__]);
}

require __DIR__ . '/lib/bootstrap.php';
require __DIR__ . '/lib/Node.php';

const CLIENTS = 500;
const MESSAGES = 3000;
const RATE = 600;

const CODE = <<<'PHP'
    function extend(Sprocket\Server $server): void
    {
        $server->onOpen(fn (Sprocket\Connection $c) => $c->resume('feed', $c->request->query()['after'] ?? ''));
        $server->onResume(function (Sprocket\Connection $c, string $topic, bool $complete): void {
            echo $complete ? 'resumed by ' . VERSION . "\n" : "incomplete\n";
        });
    }
    PHP;

test('two reloads under load: ' . CLIENTS . ' clients miss no message, get none twice, and are never refused', function (): void {
    $load = dirname(__DIR__, 2) . '/bench/target/release/wsload';
    check(is_executable($load), "the load generator is not built ($load)");
    $socket = sys_get_temp_dir() . '/sprocket-reload-' . bin2hex(random_bytes(6));
    $code = fn (int $version): string => "const VERSION = 'v$version';\n" . CODE;
    $node = Node::start(['publishSocket' => $socket], $code(1), ['history' => MESSAGES]);
    $watcher = new Child([
        $load, 'watch', '--url', "{$node->server->address}/", '--connections', (string) CLIENTS,
        '--count', (string) MESSAGES, '--reopen', '--settle', '15', '--seconds', '120',
    ]);
    $watcher->line('/^watching$/', 60);
    $resumed = function (int $version) use ($node): int {
        $node->server->child->take();
        return substr_count($node->server->child->output, "resumed by v$version\n");
    };
    until(fn (): bool => $resumed(1) >= CLIENTS, 'all clients have a position', 30);

    $publisher = new Publisher("unix://$socket", timeout: 20.0);
    $begin = microtime(true);
    $version = 1;
    for ($number = 0; $number < MESSAGES;) {
        usleep(max(0, (int) (1e6 * ($begin + $number / RATE - microtime(true)))));
        try {
            $publisher->publish('feed', sprintf('00%08x %%position%% %s', $number, str_repeat('x', 40)));
            $number++;
        } catch (PublishException $e) {
            // The worker that had accepted this publisher is ending. It has not published what it refused.
            check(!$e->uncertain, "message $number: {$e->getMessage()}");
        }
        if ($number === (int) (MESSAGES * (2 * $version - 1) / 5) && $version < 3) {
            $version++;
            $node->change($code($version));
            $node->reload();
        }
        if ($number % 100 === 0) {
            $node->server->child->take();
        }
    }
    $report = json_decode($watcher->line('/^\{/', 60), true);
    printf("# %d deliveries, %d connections closed, %d refused; lost %d, repeated %d, missing %d\n",
        ...array_map(fn (string $key): int => $report[$key], ['deliveries', 'closed', 'refused', 'lost', 'repeated', 'missing']));
    same([CLIENTS * MESSAGES, 0, 0, 0, 0],
        [$report['deliveries'], $report['lost'], $report['repeated'], $report['missing'], $report['refused']],
        'deliveries, lost, repeated, missing, refused');
    check($report['closed'] >= 2 * CLIENTS * 0.9, "only {$report['closed']} connections were closed: was there a reload?");
    check($resumed(3) > 0, 'no client has resumed on the newest code');
    check(!str_contains($node->server->child->output, 'incomplete'), 'the replay to some client was incomplete');
    $node->stop();
});
