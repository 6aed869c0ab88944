<?php

/**
 * The server inside of a loop: timers, streams, signals, descriptors, forks, other kinds of sockets.
 * Some checks need ReactPHP itself, from REACT_AUTOLOAD or Debian's package.
 */

require __DIR__ . '/support/harness.php';

needs('loop');

function cpuSeconds(int $pid): float
{
    $fields = explode(' ', file_get_contents("/proc/$pid/stat"));

    return ($fields[13] + $fields[14]) / 100;
}

/** Checks thousands of clients and a stream opened among them, whose descriptors exceed the limit of select(). */
function crowd(string $loop): void
{
    $clients = (int) (getenv('RATCHET_TEST_CLIENTS') ?: 5000);
    $name = "$clients clients on the loop of $loop, and a stream opened among them";
    if (original()) {
        skip($name, 'Ratchet goes deaf above 1024 descriptors');
    } elseif (!descriptors($clients + 100)) {
        skip($name, 'the hard limit of descriptors is too low for this program');
    } else {
        check($name, fn () => hold($clients));
    }
}

/** Raises the soft limit of descriptors of this program, if it may. */
function descriptors(int $wanted): bool
{
    $limits = posix_getrlimit();
    $hard = $limits['hard openfiles'] === 'unlimited' ? $wanted : $limits['hard openfiles'];

    return $limits['soft openfiles'] >= $wanted
        || ($hard >= $wanted && posix_setrlimit(POSIX_RLIMIT_NOFILE, $wanted, $hard));
}

function hold(int $clients): void
{
    $server = new ServerProcess('loops', ['streams'], ['memory_limit' => '512M']);
    $open = [];
    for ($i = 0; $i < $clients; $i++) {
        $open[] = Client::open($server->port);
    }
    $open[0]->text('clients');
    same((string) $clients, $open[0]->nextText());
    foreach ([0, 1500, $clients - 1] as $i) {
        $open[$i]->text("hello $i");
        same("hello $i", $open[$i]->nextText());
    }
    $open[$clients - 1]->text('database');
    same("row 42\n", $open[$clients - 1]->nextText());
    for ($i = 1; $i < $clients; $i++) {
        $open[$i]->close();
    }
    $end = microtime(true) + DEADLINE;
    do {
        // Also drains the pipe to which the server reports closed connections.
        $server->count('close', 0.1);
        $open[0]->text('clients');
        $left = $open[0]->nextText();
    } while ($left !== '1' && microtime(true) < $end);
    same('1', $left, 'clients left');
}

check('sends from a timer leave at once', function () {
    $server = new ServerProcess('loops', ['timers']);
    $client = Client::open($server->port);
    $begin = microtime(true);
    for ($i = 0; $i < 10; $i++) {
        same('tick', $client->nextText(5));
    }
    $took = microtime(true) - $begin;
    that($took > 0.3 && $took < 6.0, "ten ticks of 50 ms took $took s");
});

check('an idle server costs no CPU', function () {
    $server = new ServerProcess('loops', ['plain']);
    $client = Client::open($server->port);
    $client->text('awake');
    $client->nextText();
    $before = cpuSeconds($server->pid);
    sleep(2);
    $used = cpuSeconds($server->pid) - $before;
    that($used <= 0.03, "$used s of CPU in 2 s");
});

crowd(getenv('REACT_AUTOLOAD') ? 'ReactPHP' : 'the tests');

if (function_exists('pcntl_fork')) {
    check('an application that forks between construction and run', function () {
        $server = new ServerProcess('loops', ['fork']);
        $child = $server->wait('forked')[1];
        $client = Client::open($server->port);
        $client->text('from the child');
        same('from the child', $client->nextText());
        posix_kill($child, SIGKILL);
    });
} else {
    skip('an application that forks between construction and run', 'pcntl is missing');
}

check('closing the socket: no new clients, the old ones stay, then the loop ends', function () {
    $server = new ServerProcess('loops', ['closing']);
    $client = Client::open($server->port);
    $client->text('stop accepting');
    $client->text('still here');
    same('still here', $client->nextText());
    try {
        $late = new Client($server->port);
        $late->write(Client::request());
        that(!str_contains($late->head(1), ' 101 '), 'nobody gets in');
    } catch (Failed $e) {
        that(str_contains($e->getMessage(), 'connect'), $e->getMessage());
    }
    $late = null;
    $client->close();
    $server->wait('loop ended', 5);
});

check('enableKeepAlive() when the server runs already', function () {
    if (original()) {
        return;
    }
    $server = new ServerProcess('loops', ['late-keepalive']);
    $client = Client::open($server->port);
    $ping = $client->next(3);
    same(9, $ping[0]);
    $client->write(Client::frame(10, $ping[1]));
    same(9, $client->next(3)[0]);
    $server->wait('close', 3);
});

check('a callback that runs the loop to wait for something', function () {
    $server = new ServerProcess('loops', ['await']);
    $client = Client::open($server->port);
    $other = Client::open($server->port);
    $before = cpuSeconds($server->pid);
    $client->text('await');
    usleep(20000);
    $other->text('meanwhile');
    same('awaited', $client->nextText());
    same('meanwhile', $other->nextText());
    that(cpuSeconds($server->pid) - $before < 0.15, 'it does not spin');
    $client->text('after');
    same('after', $client->nextText());
    same('', trim($server->stderr));
});

check('connections leave no memory behind', function () {
    if (original()) {
        return;
    }
    $server = new ServerProcess('loops', ['memory']);
    $probe = Client::open($server->port);
    $sizes = [];
    for ($round = 0; $round < 3; $round++) {
        for ($i = 0; $i < 300; $i++) {
            $client = Client::open($server->port);
            $client->text('hello');
            $client->nextText();
            $i % 2 ? $client->close() : $client->write(Client::frame(8, "\x03\xe8"));
        }
        for ($i = 0; $i < 300; $i++) {
            $server->wait('close');
        }
        $probe->text('memory');
        $sizes[] = (int) $probe->nextText();
    }
    that($sizes[2] - $sizes[1] < 30000, 'bytes after each 300 connections: ' . show($sizes));
});

if (!getenv('REACT_AUTOLOAD') && !original()) {
    // ReactPHP itself, from Debian's package, unpacked into a private folder.
    $library = __DIR__ . '/../php/lib/php-library.sh';
    $autoloader = is_file($library) ? trim((string) shell_exec('bash ' . escapeshellarg($library) . ' react')) : '';
    if (!is_file($autoloader)) {
        foreach (['the default loop of ReactPHP', 'TLS by a React context', 'sockets of ReactPHP', 'LimitingServer'] as $name) {
            skip($name, 'needs ReactPHP, which could not be fetched: set REACT_AUTOLOAD');
        }
        finish();
    }
    putenv("REACT_AUTOLOAD=$autoloader");
    crowd('ReactPHP');
}

/** Connects over TLS. Returns the common name of the server and whether it is native; null if refused. */
function secure(ServerProcess $server, array $ssl): ?array
{
    $client = new Client($server->port);
    foreach ($ssl + ['capture_peer_cert' => true, 'verify_peer' => false, 'verify_peer_name' => false] as $name => $value) {
        stream_context_set_option($client->socket, 'ssl', $name, $value);
    }
    if (!@stream_socket_enable_crypto($client->socket, true, STREAM_CRYPTO_METHOD_TLS_CLIENT)) {
        return null;
    }
    try {
        $client->write(Client::request());
        if (!str_contains($client->head(), ' 101 ')) {
            return null;
        }
        $client->text($large = str_repeat('secret ', 30000));
        same($large, $client->nextText(), 'echo');
        $client->text('native');
        $native = $client->nextText();
    } catch (Failed) {
        return null; // In TLS 1.3 a client learns after its own handshake that it was refused.
    }
    $certificate = stream_context_get_options($client->socket)['ssl']['peer_certificate'];

    return [openssl_x509_parse($certificate)['subject']['CN'], original() || $native === 'yes'];
}

require __DIR__ . '/../php/lib/Certificates.php';
$certificates = new Certificates();

check('TLS by a React context: one file; certificates by name; a passphrase', function () use ($certificates) {
    $chat = $certificates->issue('chat.example');
    $both = "$certificates->folder/both.pem";
    file_put_contents($both, file_get_contents($chat['certificate']) . file_get_contents($chat['key']));
    $server = new ServerProcess('loops', ['tls', json_encode(['local_cert' => $both])]);
    same(['chat.example', true], secure($server, []));

    $other = $certificates->issue('other.example');
    $encrypted = "$certificates->folder/encrypted.pem";
    $certificates->openssl('pkcs8', '-topk8', '-in', $chat['key'], '-out', $encrypted, '-passout', 'pass:sesame');
    $server = new ServerProcess('loops', ['tls', json_encode([
        'local_cert' => $chat['certificate'], 'local_pk' => $encrypted, 'passphrase' => 'sesame',
        'SNI_server_certs' => ['other.example' => ['local_cert' => $other['certificate'], 'local_pk' => $other['key']]],
        'ciphers' => 'HIGH', 'verify_peer' => false, 'allow_self_signed' => true,
    ])]);
    same(['chat.example', true], secure($server, ['peer_name' => 'chat.example']));
    same(['other.example', true], secure($server, ['peer_name' => 'other.example']));
    // The files are renewed by links to others.
    unlink($chat['certificate']);
    unlink($encrypted);
    symlink($other['certificate'], $chat['certificate']);
    symlink($other['key'], $encrypted);
    for ($end = microtime(true) + DEADLINE; microtime(true) < $end; usleep(50000)) {
        if (($seen = secure($server, ['peer_name' => 'chat.example'])) === ['other.example', true]) {
            break;
        }
    }
    same(['other.example', true], $seen, 'after the renewal');
});

check('TLS by a React context that asks clients for a certificate', function () use ($certificates) {
    $files = $certificates->issue('chat.example');
    $alice = $certificates->issue('alice');
    $server = new ServerProcess('loops', ['tls', json_encode([
        'local_cert' => $files['certificate'], 'local_pk' => $files['key'], 'verify_peer' => true, 'cafile' => $certificates->ca,
    ])]);
    same(null, secure($server, []), 'without');
    same(['chat.example', true], secure($server, ['local_cert' => $alice['certificate'], 'local_pk' => $alice['key']]));
});

check('TLS that only PHP can do is left to React', function () use ($certificates) {
    $key = "$certificates->folder/old.key";
    $certificates->openssl('genrsa', '-traditional', '-aes128', '-passout', 'pass:sesame', '-out', $key, '2048');
    $certificates->openssl('req', '-x509', '-key', $key, '-passin', 'pass:sesame', '-subj', '/CN=old.example', '-out', "$key.pem");
    $old = ['local_cert' => "$key.pem", 'local_pk' => $key, 'passphrase' => 'sesame'];
    $server = new ServerProcess('loops', ['tls', json_encode($old)]);
    same(['old.example', original()], secure($server, []));
    $server->isRunning();
    that(original() || str_contains($server->stderr, 'TLS is left to React'), "stderr: {$server->stderr}");

    $files = $certificates->issue('chat.example');
    $server = new ServerProcess('loops', ['tls', json_encode([
        'local_cert' => $files['certificate'], 'local_pk' => $files['key'], 'peer_fingerprint' => ['sha1' => str_repeat('0', 40)],
    ])]);
    same(null, secure($server, []), 'a client whose certificate is not pinned');
    $server->isRunning();
    that(original() || str_contains($server->stderr, 'does not support the context option peer_fingerprint'), "stderr: {$server->stderr}");
});

if (!original()) {
    // REACT_VERSIONS, autoloaders separated by colons, names further releases to look at.
    foreach (array_filter([getenv('REACT_AUTOLOAD'), ...explode(':', (string) getenv('REACT_VERSIONS'))]) as $i => $autoloader) {
        check('the native server takes over each kind of socket that ReactPHP makes' . ($i > 0 ? " ($autoloader)" : ''), function () use ($certificates, $autoloader) {
            $chat = $certificates->issue('chat.example');
            $context = json_encode(['local_cert' => $chat['certificate'], 'local_pk' => $chat['key']]);
            putenv("REACT_AUTOLOAD=$autoloader");
            $server = new ServerProcess('listeners', [$context]);
            for ($kinds = []; ($event = $server->wait('listener')) !== ['listener']; $kinds[$event[1]] = $event) {
                same([true, true, null], array_slice($event, 2, 3), "$event[1]: socket, loop, reason");
                same(in_array($event[1], ['SecureServer', 'tls://'], true), $event[5], "$event[1]: TLS");
            }
            that(count(array_intersect(['TcpServer', 'UnixServer', 'SecureServer', 'Server'], array_keys($kinds))) === 4, show(array_keys($kinds)));
        });
    }
}

check('a Unix socket', function () {
    $path = sys_get_temp_dir() . '/sprocket-ratchet-' . getmypid() . '.sock';
    $server = new ServerProcess('loops', ['unix', $path]);
    $client = (new ReflectionClass(Client::class))->newInstanceWithoutConstructor();
    $client->socket = stream_socket_client("unix://$path");
    $client->write(Client::request());
    that(str_contains($client->head(), ' 101 '), 'accepted');
    $client->text('local');
    same('local', $client->nextText());
    unlink($path);
});

check('LimitingServer: React serves it, with a line in the log, and it lists and refuses connections', function () {
    $server = new ServerProcess('loops', ['limit'], ['log_errors' => '1', 'error_log' => '']);
    $one = Client::open($server->port);
    $two = Client::open($server->port);
    $three = new Client($server->port);
    $three->write(Client::request());
    that(str_contains($server->wait('limited')[1], 'limit'), 'error');
    that(!str_contains($three->head(), ' 101 '), 'the third is refused');
    foreach (['first' => 'first', 'connections' => '2'] + (original() ? [] : ['native' => 'no']) as $text => $answer) {
        $one->text($text);
        same($answer, $one->nextText());
    }
    $server->isRunning();
    that(original() || str_contains($server->stderr, 'it is a LimitingServer'), $server->stderr);
});

check('LimitingServer with pauseOnLimit: who is too many waits until another one leaves', function () {
    $server = new ServerProcess('loops', ['pause']);
    $one = Client::open($server->port);
    $two = Client::open($server->port);
    $three = new Client($server->port);
    $three->write(Client::request());
    $one->text('connections');
    same(['2', ''], [$one->nextText(), $three->head(0.3)]);
    $two->close();
    that(str_contains($three->head(), ' 101 '), 'it gets in');
    same(0, $server->count('limited', 0));
});

finish();
