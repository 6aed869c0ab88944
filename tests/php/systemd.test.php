<?php

declare(strict_types=1);

// The units of docs/deploy: read by systemd, and their socket handed over by its own tool.

require __DIR__ . '/lib/bootstrap.php';
require __DIR__ . '/lib/Certificates.php';

if (trim((string) shell_exec('command -v systemd-socket-activate && command -v systemd-analyze')) === '') {
    test('systemd is installed', fn () => throw new RuntimeException("install Debian's systemd"));
    exit;
}

$certificates = new Certificates();
$localhost = $certificates->issue('localhost', 'DNS:localhost,IP:127.0.0.1');
$deploy = __DIR__ . '/../../docs/deploy';

/** The value of a setting in a unit. */
function setting(string $unit, string $name): string
{
    global $deploy;
    preg_match("/^$name=(.*)$/m", file_get_contents("$deploy/$unit"), $match) || throw new RuntimeException("no $name in $unit");
    return $match[1];
}

test('systemd finds nothing wrong with the units', function () use ($deploy, $certificates): void {
    // Under their names, with a program that is there.
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

test('the server takes the socket that systemd hands over, by its name, with TLS', function () use ($certificates, $localhost): void {
    $socket = stream_socket_server('tcp://127.0.0.1:0');
    $name = stream_socket_get_name($socket, false);
    fclose($socket);
    $settings = ['listen' => 'fd://systemd/' . setting('chat.socket', 'FileDescriptorName') . '?tls', 'options' => ['tls' => $localhost]];
    $child = new Child([
        'systemd-socket-activate', '--listen', $name, '--fdname', setting('chat.socket', 'FileDescriptorName'),
        PHP_BINARY, '-d', 'extension=' . getenv('SPROCKET_SO'), __DIR__ . '/servers/echo.php', json_encode($settings),
    ]);
    // The first connection starts the server, and waits for it in the queue.
    $context = ['ssl' => ['cafile' => $certificates->ca, 'peer_name' => 'localhost']];
    $client = null;
    until(function () use ($name, $context, $child, &$client): bool {
        $child->isRunning() || throw new RuntimeException("it ended: $child->output");
        try {
            $client = new Client("wss://$name", null, $context);
            return true;
        } catch (RuntimeException) {
            return false; // it does not listen yet
        }
    }, 'a connection', 20);
    same('hello', $client->open()->send('hello')->message());
    check(str_contains($child->output . $child->line("~wss://$name~"), "wss://$name"), $child->output);
    // As systemd ends it: the tool has become the server.
    $child->signal(constant(setting('chat.service', 'KillSignal')));
    same('1001', substr($client->closeCode(), 0, 4), 'close code');
    same(0, $child->wait(), 'exit status');
});

test('the kernel knows each setting for many connections', function () use ($deploy): void {
    preg_match_all('/^#? ?((?:fs|net)\\.[\\w.-]+) = (.+)$/m', file_get_contents("$deploy/90-sprocket.conf"), $settings, PREG_SET_ORDER);
    check(count($settings) >= 8, count($settings) . ' settings');
    foreach ($settings as [$line, $name, $value]) {
        $file = '/proc/sys/' . str_replace('.', '/', $name);
        // What belongs to a module, or to a protocol, comes and goes with its folder.
        check(is_file($file) || str_contains($name, 'nf_conntrack') || !is_dir(dirname($file)), "$name is no setting");
        check(preg_match('/^\\d+( \\d+)*$/', $value) === 1, $line);
    }
});
