<?php

declare(strict_types=1);

if (!extension_loaded('sprocket')) {
    // Some tests need the extension in this process.
    $again = [PHP_BINARY, '-d', 'extension=' . getenv('SPROCKET_SO'), __FILE__];
    passthru(implode(' ', array_map('escapeshellarg', $again)), $status);
    exit($status);
}

// wss:// listeners, with OpenSSL's clients: PHP's own and `openssl s_client`.

require __DIR__ . '/lib/bootstrap.php';
require __DIR__ . '/lib/Certificates.php';

$certificates = new Certificates();
$localhost = $certificates->issue('localhost', 'DNS:localhost,IP:127.0.0.1');

/** Starts a server on a wss:// address. */
function secure(array $tls, array $options = [], string|array $listen = 'wss://127.0.0.1:0'): TestServer
{
    return TestServer::start(['tls' => $tls] + $options, ['listen' => $listen]);
}

/** Stream context of a client that trusts the test's CA and expects this host. */
function trusting(Certificates $certificates, string $host = 'localhost', array $more = []): array
{
    return ['ssl' => $more + ['cafile' => $certificates->ca, 'peer_name' => $host]];
}

/** The output of `openssl s_client` for the server. */
function s_client(TestServer $server, string ...$arguments): string
{
    $command = ['timeout', '10', 'openssl', 's_client', '-connect', substr($server->address, 6), ...$arguments];
    return (string) shell_exec(implode(' ', array_map('escapeshellarg', $command)) . ' </dev/null 2>&1');
}

/** The exception message of a server that cannot start with these settings. */
function refusal(array $tls): string
{
    try {
        (new Sprocket\Server('wss://127.0.0.1:0', new Sprocket\Options(tls: new Sprocket\Tls(...$tls))))->start();
    } catch (Sprocket\TlsException $e) {
        return $e->getMessage();
    }
    throw new RuntimeException('the server started');
}

test('messages of many sizes come back over TLS', function () use ($certificates, $localhost): void {
    $server = secure($localhost, ['maxMessageSize' => 8 << 20, 'sendBufferLimit' => 32 << 20]);
    check(str_starts_with($server->address, 'wss://127.0.0.1:'), $server->address);
    $client = $server->connect(trusting($certificates))->open();
    foreach ([0, 1, 125, 16_384, 70_000, 3_000_000] as $size) {
        $message = substr(str_repeat("0123456789abcdef\n", intdiv($size, 17) + 1), 0, $size);
        same(md5($message), md5($client->frame(Client::BINARY, $message)->message(30)), "$size bytes");
    }
    $who = json_decode($client->send('who')->message(), true);
    same(['wss', true, null, '127.0.0.1'], [$who['scheme'], $who['secure'], $who['certificate'], $who['address']]);
    $client->close();
    $server->child->line('/^close \d+ 1000/');
});

test('plain requests over TLS are answered, with the scheme https', function () use ($certificates, $localhost): void {
    $server = secure($localhost);
    $client = $server->connect(trusting($certificates));
    $response = $client->raw("GET /who HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")->response();
    same('https', json_decode($response->body, true)['scheme']);
    $client->ended();
});

test('TLS 1.2 and 1.3 are accepted, and older versions are not', function () use ($certificates, $localhost): void {
    $server = secure($localhost);
    foreach (['-tls1_2' => 'TLSv1.2', '-tls1_3' => 'TLSv1.3'] as $option => $name) {
        $said = s_client($server, $option, '-CAfile', $certificates->ca, '-servername', 'localhost');
        check(str_contains($said, "New, $name") && str_contains($said, 'Verify return code: 0'), $said);
    }
    $said = s_client($server, '-tls1_1', '-cipher', 'ALL:@SECLEVEL=0');
    check(str_contains($said, 'Cipher is (NONE)'), $said);
    $only = secure($localhost + ['minVersion' => '1.3']);
    check(str_contains(s_client($only, '-tls1_2'), 'Cipher is (NONE)'), 'TLS 1.2 was accepted');
    check(str_contains(s_client($only, '-tls1_3'), 'New, TLSv1.3'), 'TLS 1.3 was refused');
});

test('a client can resume a TLS session', function () use ($certificates, $localhost): void {
    $server = secure($localhost);
    $file = "$certificates->folder/session";
    check(str_contains(s_client($server, '-tls1_2', '-sess_out', $file), 'New, TLSv1.2'), 'first');
    $said = s_client($server, '-tls1_2', '-sess_in', $file);
    check(str_contains($said, 'Reused, TLSv1.2'), $said);
});

test('an expired certificate is served, and the client refuses it', function () use ($certificates): void {
    $server = secure($certificates->issue('localhost', '', '20200101000000Z', '20200201000000Z'));
    $said = s_client($server, '-CAfile', $certificates->ca, '-verify_return_error');
    check(str_contains($said, 'certificate has expired'), $said);
    try {
        $server->connect(trusting($certificates));
        throw new LogicException('PHP accepts it');
    } catch (RuntimeException) {
    }
    $server->connect(trusting($certificates, 'localhost', ['verify_peer' => false]))->open()->drop();
});

test('the client refuses a certificate for another host', function () use ($certificates): void {
    $server = secure($certificates->issue('other.example'));
    $said = s_client($server, '-CAfile', $certificates->ca, '-verify_hostname', 'localhost', '-verify_return_error');
    check(str_contains($said, 'Hostname mismatch') || str_contains($said, 'hostname mismatch'), $said);
    try {
        $server->connect(trusting($certificates));
        throw new LogicException('PHP accepts it');
    } catch (RuntimeException) {
    }
    $server->connect(trusting($certificates, 'other.example'))->open()->drop();
});

test('the server chooses the certificate by the requested name', function () use ($certificates, $localhost): void {
    $hosts = ['a.example' => $certificates->issue('a.example'), '*.b.example' => $certificates->issue('*.b.example')];
    $server = secure($localhost + ['hosts' => $hosts]);
    foreach (['localhost', 'a.example', 'x.b.example'] as $host) {
        same('hello', $server->connect(trusting($certificates, $host))->open()->send('hello')->message(), $host);
    }
});

test('reloadTls() serves the new certificate and keeps connections; a bad one changes nothing', function () use ($certificates, $localhost): void {
    $mine = ['certificate' => "$certificates->folder/mine.pem", 'key' => "$certificates->folder/mine.key"];
    array_map('copy', $localhost, $mine);
    $server = secure($mine);
    $old = $server->connect(trusting($certificates))->open();
    $new = $certificates->issue('renewed.example');
    copy($new['certificate'], $mine['certificate']);
    $said = $old->send('reload')->message();
    check(str_contains($said, 'does not match') && str_contains($said, $mine['key']), $said);
    $server->connect(trusting($certificates))->open()->drop();
    copy($new['key'], $mine['key']);
    same('reloaded', $old->send('reload')->message());
    $server->connect(trusting($certificates, 'renewed.example'))->open()->drop();
    same('still there', $old->send('still there')->message());
});

test('with reloadInterval the server reloads changed files by itself', function () use ($certificates, $localhost): void {
    $mine = ['certificate' => "$certificates->folder/auto.pem", 'key' => "$certificates->folder/auto.key"];
    array_map('copy', $localhost, $mine);
    $server = secure($mine + ['reloadInterval' => 0.05]);
    $server->connect(trusting($certificates))->open()->drop();
    array_map('copy', $certificates->issue('renewed.example.with.a.long.name'), $mine);
    until(function () use ($server, $certificates): bool {
        try {
            $server->connect(trusting($certificates, 'renewed.example.with.a.long.name'))->drop();
            return true;
        } catch (RuntimeException) {
            return false;
        }
    }, 'the new certificate is served');
});

test('the server verifies client certificates', function () use ($certificates, $localhost): void {
    $server = secure($localhost + ['clientCa' => $certificates->ca]);
    $alice = $certificates->issue('alice');
    $context = trusting($certificates, 'localhost', ['local_cert' => $alice['certificate'], 'local_pk' => $alice['key']]);
    $client = $server->connect($context)->open();
    same('alice', json_decode($client->send('who')->message(), true)['certificate']);

    $others = new Certificates();
    $mallory = $others->issue('alice');
    foreach ([[], ['local_cert' => $mallory['certificate'], 'local_pk' => $mallory['key']]] as $more) {
        try {
            // With TLS 1.3 the client learns about the refusal when it reads.
            $client = $server->connect(trusting($certificates, 'localhost', $more));
            @fwrite($client->stream, $client->upgradeRequest());
            $client->response(5);
            throw new LogicException('the client was admitted');
        } catch (RuntimeException) {
        }
    }
    $optional = secure($localhost + ['clientCa' => $certificates->ca, 'clientRequired' => false]);
    $client = $optional->connect(trusting($certificates))->open();
    same(null, json_decode($client->send('who')->message(), true)['certificate']);
});

test('an encrypted key can be used only with its passphrase', function () use ($certificates, $localhost): void {
    $encrypted = "$certificates->folder/encrypted.key";
    $certificates->openssl('pkcs8', '-topk8', '-in', $localhost['key'], '-out', $encrypted, '-passout', 'pass:open sesame');
    $with = fn (array $more): array => ['certificate' => $localhost['certificate'], 'key' => $encrypted] + $more;
    same("The key in $encrypted is encrypted and needs a passphrase", refusal($with([])));
    same("The passphrase does not decrypt the key in $encrypted", refusal($with(['passphrase' => 'no'])));
    $server = secure($with(['passphrase' => 'open sesame']));
    $server->connect(trusting($certificates))->open()->drop();
    $tls = new Sprocket\Tls(...$with(['passphrase' => 'open sesame']));
    check(!str_contains(print_r($tls, true) . var_export($tls, true), 'sesame'), 'the passphrase is shown');
    // The format of OpenSSL before version 1.0.
    $legacy = "$certificates->folder/legacy.key";
    $certificates->openssl('ec', '-in', $localhost['key'], '-out', $legacy, '-aes128', '-passout', 'pass:x');
    $said = refusal(['key' => $legacy, 'passphrase' => 'x'] + $localhost);
    check(str_contains($said, $legacy) && str_contains($said, 'openssl pkcs8 -topk8'), $said);
});

test('each kind of error in the files has its own message', function () use ($certificates, $localhost): void {
    $missing = "$certificates->folder/missing.pem";
    same("Cannot read $missing: No such file or directory (os error 2)", refusal(['certificate' => $missing] + $localhost));
    same("Cannot read $missing: No such file or directory (os error 2)", refusal(['key' => $missing] + $localhost));
    $other = $certificates->issue('other.example');
    same(
        "The key in {$other['key']} does not match the certificate in {$localhost['certificate']}",
        refusal(['key' => $other['key']] + $localhost),
    );
    same("Cannot use {$localhost['key']}: it contains no PEM certificate", refusal(['certificate' => $localhost['key']] + $localhost));
    same("Cannot use {$localhost['certificate']}: it contains no PEM private key", refusal(['certificate' => $localhost['certificate']]));
    $said = refusal($localhost + ['hosts' => ['wrong.example' => new Sprocket\Tls(...$other)]]);
    same("The certificate in {$other['certificate']} is not valid for the host wrong.example", $said);
});

test('ws, wss and a Unix socket serve at the same time', function () use ($certificates, $localhost): void {
    $path = "$certificates->folder/app.sock";
    $listen = ['wss://127.0.0.1:0', 'ws://127.0.0.1:0', "unix://$path?mode=0660"];
    $server = secure($localhost, [], $listen);
    preg_match('~wss:\S+ (ws:\S+) (unix:\S+)~', $server->child->output, $addresses);
    same(0660, fileperms($path) & 0777, 'mode');
    foreach ([$server->address, $addresses[1], $addresses[2]] as $address) {
        $client = (new Client($address, null, trusting($certificates)))->open(['Host' => 'localhost']);
        same($address, $client->send($address)->message());
    }
});

test('TLS handshakes continue while PHP is busy', function () use ($certificates, $localhost): void {
    $server = secure($localhost);
    $busy = $server->hold($server->connect(trusting($certificates))->open());
    $server->connect(trusting($certificates))->open()->drop();
    $server->release();
    same('hello', $busy->send('hello')->message());
});

test('the server survives garbage, half a ClientHello, and plain HTTP on a TLS port', function () use ($certificates, $localhost): void {
    $server = secure($localhost, ['handshakeTimeout' => 0.5]);
    $plain = fn (): Client => new Client(str_replace('wss:', 'ws:', $server->address));
    foreach ([random_bytes(4000), "\x16\x03\x01\xff\xff", "\x80\x2e\x01\x00\x02", str_repeat("\0", 100)] as $garbage) {
        // The first byte keeps the garbage from looking like an HTTP request.
        $plain()->raw("\x01$garbage")->ended();
    }
    $half = $plain()->raw("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
    $silent = $plain();
    $server->connect(trusting($certificates))->open()->drop();
    $half->ended(5);
    $silent->ended(5);
    $response = $plain()->raw("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")->response();
    same(400, $response->status);
    check(str_contains($response->body, 'wss://'), $response->body);
    $said = $server->connect(trusting($certificates));
    $stats = json_decode($said->raw("GET /stats HTTP/1.1\r\nHost: localhost\r\n\r\n")->response()->body, true);
    same([5, 2], [$stats['tlsErrors'], $stats['handshakeTimeouts']], 'tlsErrors, handshakeTimeouts');
});
