<?php

declare(strict_types=1);

// The server behind a real nginx, haproxy and Caddy, with the configurations in docs/deploy.

require __DIR__ . '/lib/bootstrap.php';
require __DIR__ . '/lib/Certificates.php';

$certificates = new Certificates();
$localhost = $certificates->issue('localhost', 'DNS:localhost,IP:127.0.0.1');

/** A port that is currently free. */
function free_port(): int
{
    $socket = stream_socket_server('tcp://127.0.0.1:0');
    return (int) substr(strrchr(stream_socket_get_name($socket, false), ':'), 1);
}

/** Writes a configuration of docs/deploy with its upper-case words replaced, and returns its path. */
function configuration(string $name, string $folder, array $words): string
{
    $text = strtr(file_get_contents(__DIR__ . "/../../docs/deploy/$name"), $words);
    file_put_contents("$folder/$name", $text);
    return "$folder/$name";
}

/** Starts a proxy and waits until it listens on $port. */
function proxy(int $port, string ...$command): Child
{
    $child = new Child($command);
    until(function () use ($port, $child): bool {
        $child->take();
        $child->isRunning() || throw new RuntimeException("the proxy ended: $child->output");
        return (bool) @stream_socket_client("tcp://127.0.0.1:$port", $n, $e, 1);
    }, 'the proxy listens');
    return $child;
}

/** Opens a client connection through the proxy, from a given address. */
function through(int $port, Certificates $certificates, string $from = '127.0.0.1'): Client
{
    return new Client("wss://127.0.0.1:$port", null, [
        'ssl' => ['cafile' => $certificates->ca, 'peer_name' => 'localhost'],
        'socket' => ['bindto' => "$from:0"],
    ]);
}

/** The tests for every proxy. */
function behind(string $name, int $port, TestServer $server, Certificates $certificates): void
{
    test("$name: a WebSocket connects, and PHP sees the client's address and scheme", function () use ($port, $certificates): void {
        $client = through($port, $certificates, '127.0.0.7')->open();
        $who = json_decode($client->send('who')->message(), true);
        same(['127.0.0.7', 'wss', true], [$who['address'], $who['scheme'], $who['secure']]);
        $message = random_bytes(300_000);
        same(md5($message), md5($client->frame(Client::BINARY, $message)->message()), 'a large message');
        same('1000', substr($client->close(), 0, 4));
    });

    test("$name: forged forwarding headers of a client are ignored", function () use ($port, $certificates): void {
        $forged = [
            'X-Forwarded-For' => '6.6.6.6',
            'Forwarded' => 'for=6.6.6.6;proto=http',
            'X-Forwarded-Proto' => 'http',
            'X-Real-IP' => '6.6.6.6',
        ];
        $client = through($port, $certificates, '127.0.0.8')->open($forged);
        $who = json_decode($client->send('who')->message(), true);
        same(['127.0.0.8', true], [$who['address'], $who['secure']]);
    });

    test("$name: the limit per address applies to clients, not to the proxy", function () use ($port, $certificates): void {
        $status = function (string $from) use ($port, $certificates, &$kept): int {
            $kept[] = $client = through($port, $certificates, $from);
            return $client->raw($client->upgradeRequest())->response()->status;
        };
        same([101, 101, 429, 101], array_map($status, ['127.0.0.9', '127.0.0.9', '127.0.0.9', '127.0.0.10']));
    });

    test("$name: plain requests on a kept connection carry the address of each client", function () use ($port, $certificates): void {
        foreach (['127.0.0.11', '127.0.0.12', '127.0.0.13'] as $from) {
            $client = through($port, $certificates, $from);
            $response = $client->raw("GET /who HTTP/1.1\r\nHost: localhost\r\n\r\n")->response();
            $who = json_decode($response->body, true);
            same([$from, 'https'], [$who['address'], $who['scheme']]);
        }
    });

    test("$name: the metrics are not public", function () use ($port, $certificates): void {
        $status = through($port, $certificates)->raw("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")->response()->status;
        check($status === 403 || $status === 404, "status $status");
    });

    test("$name: a page of another origin is refused, and one of the same origin is admitted", function () use ($port, $certificates): void {
        $client = through($port, $certificates);
        same(403, $client->raw($client->upgradeRequest(['Origin' => 'https://evil.example']))->response()->status);
        through($port, $certificates)->open(['Origin' => "https://127.0.0.1:$port"])->drop();
    });
}

/** Whether a program is installed. A missing one fails the test, because bin/test installs it. */
function installed(string $program): bool
{
    if (trim((string) shell_exec("PATH=\$PATH:/usr/sbin:/sbin command -v $program")) !== '') {
        return true;
    }
    test("$program is installed", fn () => throw new RuntimeException("install Debian's $program"));
    return false;
}

putenv('PATH=' . getenv('PATH') . ':/usr/sbin:/sbin');

if (installed('nginx')) {
    $socket = "$certificates->folder/chat.sock";
    $server = TestServer::start(
        ['trustedProxies' => ['unix:'], 'maxConnectionsPerIp' => 2, 'metricsPath' => '/metrics'],
        ['listen' => "unix://$socket?mode=0666"],
    );
    // nginx's workers may run as another user.
    chmod($certificates->folder, 0711);
    $port = free_port();
    $file = configuration('nginx.conf', $certificates->folder, [
        'SOCKET' => $socket,
        'LISTEN' => "127.0.0.1:$port",
        'CERTIFICATE' => $localhost['certificate'],
        ' KEY' => " {$localhost['key']}",
        'worker_processes auto' => 'worker_processes 1',
        'worker_rlimit_nofile 200000;' => '',
        'worker_connections 100000' => 'worker_connections 500',
    ]);
    $settings = "daemon off; pid $certificates->folder/nginx.pid; error_log stderr;";
    $text = file_get_contents($file);
    $temporary = "access_log off;";
    foreach (['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'] as $kind) {
        $temporary .= " {$kind}_temp_path $certificates->folder;";
    }
    file_put_contents($file, preg_replace('/^http \{/m', "http { $temporary", $text));
    $nginx = proxy($port, 'nginx', '-p', $certificates->folder, '-c', $file, '-e', 'stderr', '-g', $settings);
    behind('nginx', $port, $server, $certificates);
    test('nginx stops', function () use ($nginx): void {
        $nginx->signal(15);
        same(0, $nginx->wait(), 'exit status');
    });
}

if (installed('caddy')) {
    $server = TestServer::start(
        ['trustedProxies' => ['127.0.0.1'], 'maxConnectionsPerIp' => 2, 'metricsPath' => '/metrics'],
    );
    $port = free_port();
    $file = configuration('Caddyfile', $certificates->folder, [
        // Accepts any name on the test's port with the test's certificate, instead of requesting one from an authority.
        "chat.example.com {" => "https://:$port {\n\tbind 127.0.0.1\n\ttls {$localhost['certificate']} {$localhost['key']}",
        'reverse_proxy 127.0.0.1:8080' => 'reverse_proxy ' . substr($server->address, strlen('ws://')),
    ]);
    $own = "{\n\tadmin off\n\tauto_https disable_redirects\n\tskip_install_trust\n"
        . "\tstorage file_system $certificates->folder/caddy\n}\n";
    file_put_contents($file, $own . file_get_contents($file));
    $home = 'HOME=' . $certificates->folder;
    $caddy = proxy($port, 'env', $home, 'caddy', 'run', '--config', $file, '--adapter', 'caddyfile');
    behind('caddy', $port, $server, $certificates);
    test('caddy stops', function () use ($caddy): void {
        $caddy->signal(15);
        same(0, $caddy->wait(), 'exit status');
    });
}

if (installed('haproxy')) {
    $inside = free_port();
    $server = TestServer::start(
        ['trustedProxies' => ['127.0.0.1'], 'maxConnectionsPerIp' => 2, 'healthPath' => '/up', 'metricsPath' => '/metrics'],
        ['listen' => "ws://127.0.0.1:$inside?proxyProtocol"],
    );
    $both = "$certificates->folder/both.pem";
    file_put_contents($both, file_get_contents($localhost['certificate']) . file_get_contents($localhost['key']));
    $port = free_port();
    $file = configuration('haproxy.cfg', $certificates->folder, [
        'LISTEN' => "127.0.0.1:$port",
        'CERTIFICATE' => $both,
        'SERVER' => "127.0.0.1:$inside",
        'maxconn 100000' => 'maxconn 200',
    ]);
    $haproxy = proxy($port, 'haproxy', '-db', '-f', $file);
    behind('haproxy', $port, $server, $certificates);
    test('haproxy finds a running server healthy, and a stopped one unhealthy', function () use ($server, $port, $certificates): void {
        same(0, $server->stop(), 'exit status');
        until(function () use ($port, $certificates): bool {
            $client = through($port, $certificates);
            return $client->raw("GET /up HTTP/1.1\r\nHost: localhost\r\n\r\n")->response()->status === 503;
        }, 'haproxy answers 503', 20);
    });
    test('haproxy stops', function () use ($haproxy): void {
        $haproxy->signal(15);
        $haproxy->wait();
    });
}
