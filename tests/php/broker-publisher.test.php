<?php

declare(strict_types=1);

// Sprocket\Publisher publishes to real brokers.

if (!extension_loaded('sprocket')) {
    // This process is itself the publisher, so it loads the extension.
    pcntl_exec(PHP_BINARY, ['-d', 'extension=' . getenv('SPROCKET_SO'), __FILE__]);
}

require __DIR__ . '/lib/bootstrap.php';
require __DIR__ . '/lib/Broker.php';

use Sprocket\{Publisher, PublishException};

/** The exception of publish() as `uncertain: message`. Also checks how long publish() took. */
function failure(Publisher $publisher, string $topic = 't', string $payload = 'x', float $within = 5.0): string
{
    $begun = microtime(true);
    try {
        $publisher->publish($topic, $payload);
        return 'published';
    } catch (PublishException $e) {
        check(microtime(true) - $begun < $within, 'it took ' . (microtime(true) - $begun) . ' s');
        return json_encode($e->uncertain) . ': ' . $e->getMessage();
    }
}

/** Forked children publish over their own connections, and do not disturb the parent's connection on exit. */
function forks(string $url): void
{
    $parent = Child::code(<<<'PHP'
        $publisher = new Sprocket\Publisher($argv[1], 10.0);
        $publisher->publish('t', 'before');
        $pids = [];
        // The second child only inherits the parent's connection. Both children run all destructors.
        foreach ([50, 0] as $messages) {
            $pids[] = $pid = pcntl_fork();
            for ($i = 0; $pid === 0 && $i < $messages; $i++) {
                $publisher->publish('t', 'child');
            }
            if ($pid === 0) {
                exit(9);
            }
        }
        for ($i = 0; $i < 100; $i++) {
            $publisher->publish('t', 'parent');
        }
        foreach ($pids as $pid) {
            pcntl_waitpid($pid, $status);
            echo pcntl_wifexited($status) ? pcntl_wexitstatus($status) : 'killed', "\n";
        }
        for ($i = 0; $i < 10; $i++) {
            $publisher->publish('t', 'after');
        }
        echo "published\n";
        PHP, $url);
    same(['9', '9', 'published'], [$parent->line(), $parent->line(), $parent->line()]);
    same(0, $parent->wait());
}

/** publish() survives signals while it waits for a stopped broker, and succeeds once the broker continues. */
function signals(Broker $broker, string $url): void
{
    $publisher = new Publisher($url, 10.0);
    $publisher->publish('t', 'x');
    $came = 0;
    pcntl_async_signals(true);
    pcntl_signal(SIGUSR1, function () use (&$came): void {
        $came++;
    });
    $broker->stopped();
    $kill = 'for i in 1 2 3 4 5; do kill -USR1 ' . getmypid() . "; sleep 0.02; done; kill -CONT {$broker->pid()}";
    $shell = proc_open(['/bin/sh', '-c', $kill], [], $pipes);
    $publisher->publish('t', 'y');
    proc_close($shell);
    pcntl_signal(SIGUSR1, SIG_DFL);
    check($came > 0, 'no signal arrived');
}

$redis = Broker::redis();
if ($redis === null) {
    skip('Redis', 'redis-server is not installed');
} else {
    $url = "redis://127.0.0.1:$redis->port";

    test('a Redis subscriber gets each publication, with text unchanged', function () use ($redis, $url): void {
        $line = $redis->dial()->say("SUBSCRIBE sprocket:news mine:a\r\n")->until(':2');
        $publisher = new Publisher($url, timeout: 10.0);
        for ($i = 0; $i < 100; $i++) {
            $publisher->publish('news', "größer $i");
        }
        (new Publisher($url, 10.0))->publish('news', "\xff", binary: true);
        $publisher->publish('nobody', 'x');
        (new Publisher($url, prefix: 'mine:'))->publish('a', '');
        for ($i = 0; $i < 100; $i++) {
            $text = "größer $i";
            $line->until('sprocket:news');
            same(['$' . strlen($text), $text], [$line->line(), $line->line()]);
        }
        // The format of docs/brokers.md.
        $line->until('sprocket:news');
        same(['$23', bin2hex("\0spk\x01" . str_repeat("\0", 17) . "\xff")], [$line->line(), bin2hex($line->line())]);
        $line->until('mine:a');
        same('$0', $line->line());
        // The two publishers with one prefix share a connection; the other connections are those of this test.
        $clients = $redis->dial()->say("INFO clients\r\n")->until('# Clients')->line();
        same('connected_clients:4', $clients);
    });

    test('a publisher reconnects to a restarted Redis, and reports one that is down', function () use ($redis, $url): void {
        $publisher = new Publisher($url, 10.0);
        $publisher->publish('t', 'x');
        $redis->kill();
        same("false: Cannot connect to $url: Connection refused (os error 111)", failure($publisher));
        $redis->up();
        $publisher->publish('t', 'x');
        $redis->kill();
        $redis->up();
        // The kept connection is closed, and no part of the message was sent on it.
        $publisher->publish('t', 'x');
    });

    test('with an unresponsive Redis, publish() fails after its timeout', function () use ($redis, $url): void {
        $publisher = new Publisher($url, 0.3);
        (new Publisher($url, 10.0))->publish('t', 'x');
        $redis->stopped();
        same("true: The server at $url did not answer within 300ms; the message may have been published", failure($publisher));
        // Even the greeting is unanswered, so Redis cannot have published the message.
        same("false: The server at $url did not accept the message within 300ms", failure($publisher));
        $redis->signal(18);
        (new Publisher($url, 10.0))->publish('t', 'x');
    });

    test('forked processes can publish to Redis', fn () => forks($url));
    test('publish() survives signals while it waits for Redis', fn () => signals($redis, $url));

    test('publishers use passwords and accounts of Redis, and report refusals', function (): void {
        $redis = Broker::redis();
        $line = $redis->dial()->say("CONFIG SET requirepass \"secret word\"\r\n")->until('+OK');
        $line->say("ACL SETUSER chat on >pw resetchannels &chat:* +@connection +publish\r\n")->until('+OK');
        $line->say("ACL SETUSER none on >pw +@connection\r\n")->until('+OK');
        $at = "127.0.0.1:$redis->port";
        (new Publisher("redis://:secret%20word@$at", 10.0))->publish('t', 'x');
        (new Publisher("redis://chat:pw@$at/0", 10.0, 'chat:'))->publish('t', 'x');
        (new Publisher("redis://:secret%20word@$at/15", 10.0))->publish('t', 'x');
        $failure = failure(new Publisher("redis://:secret%20word@$at/16", 10.0));
        check(str_contains($failure, 'Redis refuses the connection: ERR DB index is out of range'), $failure);
        check(str_starts_with(failure(new Publisher("redis://$at", 10.0)), "false: The server at redis://$at refused the message: Redis refuses the connection: NOAUTH"), 'no password is accepted');
        $failure = failure(new Publisher("redis://chat:wrong@$at", 10.0));
        check(str_starts_with($failure, "false: The server at redis://…@$at refused the message: Redis refuses the connection: WRONGPASS"), $failure);
        $publisher = new Publisher("redis://chat:pw@$at", 10.0);
        foreach ([1, 2] as $_) {
            check(str_contains(failure($publisher), 'refused the message: NOPERM'), 'a forbidden channel is accepted');
        }
        check(str_contains(failure(new Publisher("redis://none:pw@$at", 10.0)), 'NOPERM'), 'an account without the right to publish is accepted');
    });

    test('a publisher reaches Redis over a Unix socket', function (): void {
        $path = sys_get_temp_dir() . '/sprocket-redis-' . getmypid();
        $publisher = new Publisher("redis+unix://$path?db=1", 10.0);
        same("false: Cannot connect to redis+unix://$path?db=1: No such file or directory (os error 2)", failure($publisher));
        $redis = Broker::redis('--unixsocket', $path);
        $line = $redis->dial()->say("SUBSCRIBE sprocket:news\r\n")->until(':1');
        $publisher->publish('news', 'hello');
        same('hello', $line->until('$5')->line());
    });

    test('a server that is not Redis is recognized', function () use ($redis): void {
        $nats = Broker::nats();
        if ($nats !== null) {
            check(str_contains(failure(new Publisher("redis://127.0.0.1:$nats->port", 10.0)), 'is not a Redis server: it answered "INFO'), 'NATS was taken for Redis');
        }
        $failure = failure(new Publisher("nats://127.0.0.1:$redis->port", 0.3));
        same("false: The server at nats://127.0.0.1:$redis->port did not accept the message within 300ms", $failure);
    });
}
unset($redis);

$nats = Broker::nats();
if ($nats === null) {
    skip('NATS', 'nats-server is not installed');
} else {
    $url = "nats://127.0.0.1:$nats->port";

    test('a NATS subscriber gets each publication', function () use ($nats, $url): void {
        $line = $nats->dial()->say("CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB sprocket.* 1\r\nSUB mine.a 2\r\nPING\r\n")->until('PONG');
        $publisher = new Publisher($url, timeout: 10.0);
        for ($i = 0; $i < 100; $i++) {
            $publisher->publish('news', "n $i");
        }
        $publisher->publish('a b', "\xff", binary: true);
        (new Publisher($url, 10.0, 'mine'))->publish('a', '');
        for ($i = 0; $i < 100; $i++) {
            same(['MSG sprocket.news 1 ' . strlen("n $i"), "n $i"], [$line->line(), $line->line()]);
        }
        // The format of docs/brokers.md.
        same('HMSG sprocket.a%20b 1 32 33', $line->line());
        same(['NATS/1.0', 'Sprocket-Binary: 1', '', "\xff"], [$line->line(), $line->line(), $line->line(), $line->line()]);
        same(['MSG mine.a 2 0', ''], [$line->line(), $line->line()]);
    });

    test('a publisher reconnects to a restarted NATS server, and reports one that is down', function () use ($nats, $url): void {
        $publisher = new Publisher($url, 10.0);
        $publisher->publish('t', 'x');
        $nats->kill();
        same("false: Cannot connect to $url: Connection refused (os error 111)", failure($publisher));
        $nats->up();
        $publisher->publish('t', 'x');
        $nats->kill();
        $nats->up();
        $publisher->publish('t', 'x');
        // The second server accepts connections.
        (new Publisher("nats://127.0.0.1:1,127.0.0.1:$nats->port", 10.0))->publish('t', 'x');
    });

    test('with an unresponsive NATS server publish() fails after its timeout, and a refusal carries the reason', function () use ($nats, $url): void {
        $publisher = new Publisher($url, 0.3);
        (new Publisher($url, 10.0))->publish('t', 'x');
        $nats->stopped();
        same("true: The server at $url did not answer within 300ms; the message may have been published", failure($publisher));
        same("false: The server at $url did not accept the message within 300ms", failure($publisher));
        $nats->signal(18);
        $publisher = new Publisher($url, 10.0);
        $most = (1 << 20) - 256;
        same("false: The server at $url refused the message: the payload has " . ($most + 1) . " bytes, but the limit is $most", failure($publisher, payload: str_repeat('x', $most + 1)));
        $publisher->publish('t', str_repeat('x', $most));
    });

    test('forked processes can publish to NATS', fn () => forks($url));
    test('publish() survives signals while it waits for NATS', fn () => signals($nats, $url));

    test('publishers use passwords and tokens of NATS, and report missing permissions', function (): void {
        $file = sys_get_temp_dir() . '/sprocket-nats-' . getmypid() . '.conf';
        file_put_contents($file, 'authorization { users: [{ user: chat, password: "p w", permissions: { publish: "sprocket.ok" } }] }');
        $nats = Broker::nats('-c', $file);
        unlink($file);
        $at = "127.0.0.1:$nats->port";
        $publisher = new Publisher("nats://chat:p%20w@$at", 10.0);
        $publisher->publish('ok', 'x');
        same("false: The server at nats://…@$at refused the message: Permissions Violation for Publish to \"sprocket.t\"", failure($publisher));
        $publisher->publish('ok', 'x');
        same("false: The server at nats://$at refused the message: NATS refuses the connection: Authorization Violation", failure(new Publisher("nats://$at", 10.0)));
        // Even an account with few permissions learns what becomes of its messages.
        foreach (['publish: "sprocket.>", subscribe: { deny: ">" }', 'publish: "sprocket.ok", subscribe: { deny: ">" }'] as $may) {
            file_put_contents($file, "authorization { users: [{ user: u, password: p, permissions: { $may } }] }");
            $nats = Broker::nats('-c', $file);
            unlink($file);
            $publisher = new Publisher("nats://u:p@127.0.0.1:$nats->port", 10.0);
            $other = new Publisher("nats://u:p@127.0.0.1:$nats->port", 10.0, 'other');
            foreach ([1, 2] as $_) {
                $publisher->publish('ok', 'x');
                check(str_contains(failure($other), 'Permissions Violation for Publish to "other.t"'), $may);
            }
        }
        $nats = Broker::nats('--auth', 'token');
        $at = "127.0.0.1:$nats->port";
        (new Publisher("nats://token@$at", 10.0))->publish('t', 'x');
        check(str_starts_with(failure(new Publisher("nats://other@$at", 10.0)), 'false'), 'a wrong token is accepted');
    });
}

test('publishers use TLS with Redis and NATS, and a private CA', function (): void {
    $folder = sys_get_temp_dir() . '/sprocket-broker-tls-' . bin2hex(random_bytes(6));
    mkdir($folder, 0700);
    $openssl = function (string ...$arguments) use ($folder): void {
        $process = proc_open(['openssl', ...$arguments], [['file', '/dev/null', 'r'], ['file', "$folder/log", 'w'], ['file', "$folder/log", 'a']], $pipes, $folder);
        same(0, proc_close($process), 'openssl ' . file_get_contents("$folder/log"));
    };
    $ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
    $openssl('req', '-x509', ...$ec, ...['-keyout', 'ca.key', '-out', 'ca.pem', '-subj', '/CN=Test CA', '-days', '2']);
    file_put_contents("$folder/ext", "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n");
    $openssl('req', ...$ec, ...['-keyout', 'key.pem', '-out', 'csr.pem', '-subj', '/CN=broker']);
    $openssl('x509', '-req', '-in', 'csr.pem', '-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-out', 'cert.pem', '-days', '2', '-extfile', 'ext');
    $redis = Broker::redis('--tls-cert-file', "$folder/cert.pem", '--tls-key-file', "$folder/key.pem", '--tls-ca-cert-file', "$folder/ca.pem", '--tls-port', (string) ($port = random_int(20000, 30000)));
    if ($redis !== null) {
        $url = "rediss://127.0.0.1:$port?ca=$folder/ca.pem";
        // Redis also requires a client certificate.
        $publisher = new Publisher("$url&cert=$folder/cert.pem&key=$folder/key.pem", 10.0);
        foreach ([1, 2, 3] as $_) {
            $publisher->publish('t', str_repeat('x', 100_000));
        }
        check(str_starts_with(failure(new Publisher($url, 10.0)), 'false'), 'no client certificate is accepted');
        check(str_contains(failure(new Publisher("rediss://127.0.0.1:$port", 10.0)), 'UnknownIssuer'), 'an unknown CA is accepted');
        check(str_contains(failure(new Publisher("rediss://127.0.0.1:$port?ca=/nonexistent.pem", 10.0)), 'cannot read /nonexistent.pem'), 'a missing CA file is accepted');
    }
    $nats = Broker::nats('--tls', '--tlscert', "$folder/cert.pem", '--tlskey', "$folder/key.pem");
    if ($nats !== null) {
        $publisher = new Publisher("tls://127.0.0.1:$nats->port?ca=$folder/ca.pem", 10.0);
        foreach ([1, 2, 3] as $_) {
            $publisher->publish('t', str_repeat('x', 100_000));
        }
        $failure = failure(new Publisher("tls://localhost:$nats->port?ca=$folder/ca.pem", 10.0));
        check(str_starts_with($failure, 'false: Cannot connect') && str_contains($failure, 'not valid for name'), $failure);
        $failure = failure(new Publisher("tls://127.0.0.1:$nats->port", 10.0));
        check(str_contains($failure, 'UnknownIssuer'), $failure);
        // nats:// uses TLS if the server requires it, verifies the name, and trusts the system's CAs.
        file_put_contents("$folder/ext", "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n");
        $openssl('x509', '-req', '-in', 'csr.pem', '-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-out', 'cert.pem', '-days', '2', '-extfile', 'ext');
        $nats = Broker::nats('--tls', '--tlscert', "$folder/cert.pem", '--tlskey', "$folder/key.pem");
        (new Publisher("tls://localhost:$nats->port?ca=$folder/ca.pem", 10.0))->publish('t', 'x');
        $failure = failure(new Publisher("tls://127.0.0.1:$nats->port?ca=$folder/ca.pem", 10.0));
        check(str_contains($failure, 'not valid for name'), $failure);
        check(str_contains(failure(new Publisher("nats://localhost:$nats->port", 10.0)), 'UnknownIssuer'), 'nats:// verifies, too');
        putenv("SSL_CERT_FILE=$folder/ca.pem");
        (new Publisher("nats://localhost:$nats->port", 10.0))->publish('t', 'x');
        check(str_contains(failure(new Publisher("nats://127.0.0.1:$nats->port", 10.0)), 'not valid for name'), 'a certificate for another name is accepted');
        putenv('SSL_CERT_FILE');
    }
    array_map(unlink(...), glob("$folder/*"));
    rmdir($folder);
});
