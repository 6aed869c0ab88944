<?php

declare(strict_types=1);

// The units in docs/deploy: systemd verifies them, runs them, and passes their socket.

require __DIR__ . '/lib/bootstrap.php';
require __DIR__ . '/lib/Certificates.php';
require __DIR__ . '/lib/SystemdMachine.php';

if (trim((string) shell_exec('command -v systemd-socket-activate && command -v systemd-analyze')) === '') {
    test('systemd is installed', fn () => throw new RuntimeException("install Debian's systemd"));
    exit;
}

$certificates = new Certificates();
$localhost = $certificates->issue('localhost', 'DNS:localhost,IP:127.0.0.1');
$deploy = __DIR__ . '/../../docs/deploy';

/** The value of a setting in a unit file. */
function setting(string $unit, string $name): string
{
    global $deploy;
    preg_match("/^$name=(.*)$/m", file_get_contents("$deploy/$unit"), $match) || throw new RuntimeException("no $name in $unit");
    return $match[1];
}

test('systemd-analyze finds no error in the units', function () use ($deploy, $certificates): void {
    // Copies the units under their own names, with an existing program.
    $folder = "$certificates->folder/units";
    mkdir($folder);
    copy("$deploy/chat.socket", "$folder/chat.socket");
    $service = file_get_contents("$deploy/chat.service");
    file_put_contents("$folder/chat.service", str_replace('/usr/bin/php', PHP_BINARY, $service));
    $command = "SYSTEMD_LOG_LEVEL=warning systemd-analyze verify --man=no --recursive-errors=no "
        . escapeshellarg("$folder/chat.service") . ' ' . escapeshellarg("$folder/chat.socket") . ' 2>&1';
    exec($command, $output, $status);
    $said = implode("\n", $output);
    check($status === 0 && !str_contains($said, $folder), "status $status: $said");
});

test('the server takes the socket that systemd hands over, by name, with TLS', function () use ($certificates, $localhost): void {
    $socket = stream_socket_server('tcp://127.0.0.1:0');
    $name = stream_socket_get_name($socket, false);
    fclose($socket);
    $settings = ['listen' => 'fd://systemd/' . setting('chat.socket', 'FileDescriptorName') . '?tls', 'options' => ['tls' => $localhost]];
    $child = new Child([
        'systemd-socket-activate', '--listen', $name, '--fdname', setting('chat.socket', 'FileDescriptorName'),
        PHP_BINARY, '-d', 'extension=' . getenv('SPROCKET_SO'), __DIR__ . '/servers/echo.php', json_encode($settings),
    ]);
    // The first connection starts the server, and waits in the socket's queue.
    $context = ['ssl' => ['cafile' => $certificates->ca, 'peer_name' => 'localhost']];
    $client = null;
    until(function () use ($name, $context, $child, &$client): bool {
        $child->isRunning() || throw new RuntimeException("it ended: $child->output");
        try {
            $client = new Client("wss://$name", null, $context);
            return true;
        } catch (RuntimeException) {
            return false; // the server does not listen yet
        }
    }, 'a connection', 20);
    same('hello', $client->open()->send('hello')->message());
    check(str_contains($child->output . $child->line("~wss://$name~"), "wss://$name"), $child->output);
    // Signals the process as systemd does. systemd-socket-activate has replaced itself with the server.
    $child->signal(constant(setting('chat.service', 'KillSignal')));
    same('1001', substr($client->closeCode(), 0, 4), 'close code');
    same(0, $child->wait(), 'exit status');
});

/** A server for the units. "who" answers with its version, user, and limit of descriptors. */
const SERVER = <<<'PHP'
    <?php
    use Sprocket\{Connection, Options, Server, Tls};
    $server = new Server('fd://systemd/wss?tls', new Options(workers: WORKERS, tls: new Tls(
        getenv('CREDENTIALS_DIRECTORY') . '/fullchain.pem',
        getenv('CREDENTIALS_DIRECTORY') . '/privkey.pem',
    )));
    $server->onMessage(function (Connection $connection, string $payload): void {
        if ($payload === 'who') {
            $user = posix_getpwuid(posix_geteuid())['name'];
            $connection->send("VERSION $user " . posix_getrlimit()['soft openfiles']);
        } elseif ($payload === 'die') {
            posix_kill(getmypid(), SIGKILL);
        }
    });
    $server->run();
    PHP;

function booted(Certificates $certificates, array $localhost, string $server, string $more = ''): array
{
    global $deploy;
    $machine = new SystemdMachine();
    foreach (glob(ini_get('extension_dir') . '/*.so') as $extension) {
        copy($extension, "$machine->folder/extensions/" . basename($extension));
    }
    copy(getenv('SPROCKET_SO'), "$machine->folder/extensions/sprocket.so");
    $machine->file('etc/passwd', file_get_contents('/etc/passwd') . "chat:x:64999:64999::/:/bin/false\n");
    $machine->file('etc/group', file_get_contents('/etc/group') . "chat:x:64999:\n");
    $live = 'etc/letsencrypt/live/chat.example.com';
    $machine->file("$live/fullchain.pem", file_get_contents($localhost['certificate']));
    $machine->file("$live/privkey.pem", file_get_contents($localhost['key']), 0600);
    $machine->file('srv/chat/server.php', $server);
    // The machine opens the port later, so it lies outside the range from which the kernel assigns ports.
    do {
        $name = '127.0.0.1:' . random_int(20_000, 29_999);
        $socket = @stream_socket_server("tcp://$name");
    } while (!$socket);
    fclose($socket);
    $units = 'etc/systemd/system';
    $machine->file("$units/chat.socket", file_get_contents("$deploy/chat.socket"));
    $machine->file("$units/chat.socket.d/port.conf", "[Socket]\nListenStream=\nListenStream=$name\n");
    $machine->file("$units/chat.service", file_get_contents("$deploy/chat.service"));
    $log = "StandardOutput=append:/run/service.log\nStandardError=append:/run/service.log\n";
    $machine->file("$units/chat.service.d/log.conf", "[Service]\n$log$more");
    $machine->boot();
    $machine->run('systemctl', 'start', 'chat.socket');
    $context = ['ssl' => ['cafile' => $certificates->ca, 'peer_name' => 'localhost']];
    return [$machine, function () use ($machine, $name, $context): Client {
        try {
            return (new Client("wss://$name", null, $context))->open();
        } catch (RuntimeException $e) {
            throw new RuntimeException("{$e->getMessage()}: {$machine->describe()}");
        }
    }];
}

$reason = SystemdMachine::missing();
if ($reason !== null) {
    skip('systemd runs the units', $reason);
    skip('systemctl reload', $reason);
} else {
    test('systemd runs the units: the service starts with the first client, as its own user, restarts, and stops', function () use ($certificates, $localhost): void {
        $server = strtr(SERVER, ['WORKERS' => '1', 'VERSION' => 'first']);
        // If this machine cannot raise the limit, neither can its systemd.
        exec('prlimit --nofile=' . ($limit = setting('chat.service', 'LimitNOFILE')) . ' true 2>/dev/null', $_, $refused);
        $expected = 'first chat ' . ($refused ? posix_getrlimit()['hard openfiles'] : $limit);
        [$machine, $client] = booted($certificates, $localhost, $server);
        same('inactive', $machine->property('chat.service', 'ActiveState'));
        $first = $client();
        same($expected, $first->send('who')->message());
        same('active', $machine->property('chat.service', 'ActiveState'));
        $first->send('die')->ended();
        // During the restart, clients wait in the socket's queue.
        $second = $client();
        same($expected, $second->send('who')->message());
        same('1', $machine->property('chat.service', 'NRestarts'));
        $machine->run('systemctl', 'stop', 'chat.socket', 'chat.service');
        same('1001', substr($second->closeCode(), 0, 4), 'close code');
        same('inactive success', $machine->property('chat.service', 'ActiveState') . ' ' . $machine->property('chat.service', 'Result'));
    });

    test('systemctl reload brings new code to the workers, and refuses no client', function () use ($certificates, $localhost): void {
        // Enables the line without its #, as docs/deploy.md says.
        preg_match('/^#(ExecReload=.*)$/m', file_get_contents(__DIR__ . '/../../docs/deploy/chat.service'), $reload);
        $server = strtr(SERVER, ['WORKERS' => '2']);
        [$machine, $client] = booted($certificates, $localhost, strtr($server, ['VERSION' => 'first']), "$reload[1]\n");
        $old = $client();
        check(str_starts_with($old->send('who')->message(), 'first chat '), 'the first version answers');
        $machine->file('srv/chat/server.php', strtr($server, ['VERSION' => 'second']));
        $machine->run('systemctl', 'reload', 'chat.service');
        same('1001', substr($old->closeCode(), 0, 4), 'close code');
        until(fn (): bool => str_starts_with($client()->send('who')->message(), 'second chat '), 'the new version answers');
        same('0 active', $machine->property('chat.service', 'NRestarts') . ' ' . $machine->property('chat.service', 'ActiveState'));
    });
}

test('the kernel has each setting that docs/deploy recommends for many connections', function () use ($deploy): void {
    preg_match_all('/^#? ?((?:fs|net)\\.[\\w.-]+) = (.+)$/m', file_get_contents("$deploy/90-sprocket.conf"), $settings, PREG_SET_ORDER);
    check(count($settings) >= 8, count($settings) . ' settings');
    foreach ($settings as [$line, $name, $value]) {
        $file = '/proc/sys/' . str_replace('.', '/', $name);
        // Settings of a module or a protocol exist only along with their folder.
        check(is_file($file) || str_contains($name, 'nf_conntrack') || !is_dir(dirname($file)), "$name is not a setting");
        check(preg_match('/^\\d+( \\d+)*$/', $value) === 1, $line);
    }
    if (SystemdMachine::missing() === null) {
        // Applies the network settings in a network namespace of their own.
        $network = implode("\n", preg_grep('/^net\\./', file("$deploy/90-sprocket.conf", FILE_IGNORE_NEW_LINES)));
        exec('echo ' . escapeshellarg($network) . ' | unshare --net sysctl -p - 2>&1', $said, $status);
        same([0, explode("\n", $network)], [$status, $said], 'settings that sysctl applied');
    }
});
