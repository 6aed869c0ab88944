<?php

declare(strict_types=1);

// Web requests publish to the topics of a running server, from php-fpm behind nginx, and from PHP
// without the extension.

require __DIR__ . '/lib/bootstrap.php';
require __DIR__ . '/lib/WebServer.php';

/** A folder for sockets that the web server's user can reach. The destructor removes it. */
final class SocketFolder
{
    public readonly string $path;

    public function __construct()
    {
        $this->path = sys_get_temp_dir() . '/sprocket-sockets-' . bin2hex(random_bytes(6));
        mkdir($this->path);
        $user = WebServer::poolUser();
        if ($user !== null) {
            chgrp($this->path, $user); // as in docs/publish.md
        }
        chmod($this->path, 02750);
    }

    public function __destruct()
    {
        array_map(unlink(...), glob("$this->path/*"));
        rmdir($this->path);
    }
}

function topic_server(string $socket, array $options = []): TestServer
{
    $settings = ['options' => $options + ['publishSocket' => $socket, 'publishSocketMode' => 0660]];
    return TestServer::script(__DIR__ . '/servers/topics.php', json_encode($settings));
}

function subscriber(TestServer $server, string ...$patterns): Client
{
    $client = $server->open();
    $say = 'subscribePattern ' . implode(' ', $patterns);
    same("done: $say", $client->send($say)->message());
    return $client;
}

$web = WebServer::start(__DIR__ . '/servers/publish.php', 2, $missing);
if ($web === null) {
    skip('publishing from php-fpm behind nginx', $missing);
} else {
    $folder = new SocketFolder();
    $address = "unix://$folder->path/publish.sock";

    test('each publication from php-fpm behind nginx reaches its subscribers once', function () use ($web, $folder, $address): void {
        $server = topic_server("$folder->path/publish.sock");
        same('0660', substr(sprintf('%o', fileperms("$folder->path/publish.sock")), -4), 'mode of the socket');
        $clients = [subscriber($server, 'room.1'), subscriber($server, 'room.*', 'room.1'), subscriber($server, 'room.2')];
        $times = $pids = [];
        for ($i = 0; $i < 200; $i++) {
            [$status, $body] = $web->post(['address' => $address, 'topic' => 'room.1', 'payload' => "größer $i"]);
            $answer = json_decode($body, true) ?? throw new RuntimeException("the answer is $body");
            same([200, null], [$status, $answer['error']], 'answer');
            $times[] = $answer['seconds'];
            $pids[$answer['pid']] = true;
        }
        [$status] = $web->post(['address' => $address, 'topic' => 'room.2', 'payload' => "\xff\0", 'binary' => '1']);
        same(200, $status, 'status');
        foreach ([0, 1] as $i) {
            for ($n = 0; $n < 200; $n++) {
                same("größer $n", $clients[$i]->message(), "message to client $i");
            }
        }
        $frame = $clients[2]->read();
        same([Client::BINARY, 'ff00'], [$frame->opcode, bin2hex($frame->payload)]);
        $stats = $server->stats();
        same([201, 201, 0], [$stats['published'], $stats['socketPublished'], $stats['socketRefused']], 'published');
        check($stats['publishers'] <= count($pids), "$stats[publishers] connections of " . count($pids) . ' processes');
        // A busy machine delays most requests, but not all of them.
        check(min($times) < 0.001, sprintf('even the fastest request took over %.1f ms', min($times) * 1000));
        same(0, $server->stop(), 'exit status');
    });

    test('publishing works while PHP in the server is busy', function () use ($web, $folder, $address): void {
        $server = topic_server("$folder->path/publish.sock");
        $client = subscriber($server, 't');
        $busy = $server->hold($server->open());
        same(200, $web->post(['address' => $address, 'topic' => 't', 'payload' => 'now'])[0], 'status');
        same('now', $client->message());
        $server->release();
        same('done: hold', $busy->message());
        same(0, $server->stop(), 'exit status');
    });

    test('a web process publishes again after a restart of the server, and reports when the server is down', function () use ($web, $folder, $address): void {
        $post = fn (): array => $web->post(['address' => $address, 'topic' => 't', 'payload' => 'x']);
        foreach ([1, 2] as $_) {
            [$status, $body] = $post();
            same(503, $status, 'status while no server listens');
            $answer = json_decode($body, true);
            check(
                str_starts_with($answer['error'], 'Sprocket\PublishException: Cannot connect to ' . $address)
                    && $answer['uncertain'] === false && $answer['seconds'] < 4.0,
                $body,
            );
            $server = topic_server("$folder->path/publish.sock");
            $client = subscriber($server, 't');
            foreach ([1, 2, 3, 4] as $_) {
                same(200, $post()[0], 'status');
                same('x', $client->message());
            }
            // A killed server leaves its socket file behind.
            same(-9, $server->stop(9), 'exit status');
            check(file_exists("$folder->path/publish.sock"), 'the file is gone');
        }
    });

    test('publish() waits no longer than its timeout', function () use ($web, $folder): void {
        $path = "$folder->path/silent.sock";
        $silent = stream_socket_server("unix://$path");
        chmod($path, 0666);
        [$status, $body] = $web->post(['address' => "unix://$path", 'topic' => 't', 'payload' => 'x', 'timeout' => '0.3']);
        $answer = json_decode($body, true);
        same([503, true], [$status, $answer['uncertain']], 'status, uncertain');
        check($answer['seconds'] >= 0.3 && $answer['seconds'] < 9.0, "it took $answer[seconds] s");
    });

    test('without permission to write to the socket, publish() fails with the reason', function () use ($web, $folder): void {
        if (WebServer::poolUser() === null) {
            return; // the pool runs as the same user
        }
        $server = topic_server("$folder->path/closed.sock", ['publishSocketMode' => 0600]);
        [$status, $body] = $web->post(['address' => "unix://$folder->path/closed.sock", 'topic' => 't', 'payload' => 'x']);
        same(503, $status, 'status');
        check(str_contains($body, 'Permission denied'), $body);
        same(0, $server->stop(), 'exit status');
    });
    unset($web, $folder);
}

test('PHP without the extension publishes as docs/publish.md shows', function (): void {
    $docs = file_get_contents(__DIR__ . '/../../docs/publish.md');
    check(preg_match('/<!-- tested.*?```php\n(.*?)```/s', $docs, $found) === 1, 'the code block is missing');
    $folder = new SocketFolder();
    $server = topic_server("$folder->path/publish.sock");
    $client = subscriber($server, 'news');
    $run = fn (string $topic): Child => new Child([
        PHP_BINARY, '-n', '-r', $found[1] . 'publish($argv[1], $argv[2], $argv[3]); echo "published\n";',
        '--', "$folder->path/publish.sock", $topic, 'from afar',
    ]);
    $run('news')->line('/^published$/');
    same('from afar', $client->message());
    $run('*')->line('/Not published.*ERROR topic/');
    same(0, $server->stop(), 'exit status');
    $run('news')->line('/Not published: No such file or directory/');
});

test('examples/push-from-web pushes messages to the clients in a room', function (): void {
    $examples = __DIR__ . '/../../examples/push-from-web';
    $folder = new SocketFolder();
    $server = TestServer::script("$examples/server.php", '127.0.0.1:0', "$folder->path/push.sock");
    $client = $server->open(target: '/?room=den');
    same('You are in den', $client->message());
    $push = fn (string ...$arguments): Child => Child::script("$examples/push.php", ...[...$arguments, "$folder->path/push.sock"]);
    $push('den', 'hello')->line('/^Pushed$/');
    $push('elsewhere', 'not here')->line('/^Pushed$/');
    $push('den', 'bye')->line('/^Pushed$/');
    same(['hello', 'bye'], [$client->message(), $client->message()]);
    $server->stop();
    $push('den', 'too late')->line('/^Cannot connect to unix:/');
});
