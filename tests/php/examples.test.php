<?php

declare(strict_types=1);

// The examples work as their comments describe. Chat and auth have tests of their own.

require __DIR__ . '/lib/bootstrap.php';

$examples = __DIR__ . '/../../examples';

test('echo', function () use ($examples): void {
    $server = TestServer::script("$examples/echo/server.php", '127.0.0.1:0');
    same('größer', $server->open()->send('größer')->message());
    same(0, $server->stop(2), 'exit status');
});

test('event-loop/stream_select', function () use ($examples): void {
    $server = TestServer::script("$examples/event-loop/stream_select.php", '127.0.0.1:0');
    $client = $server->open();
    same('You said: hello', $client->send('hello')->message());
    same('#1 says: hello', preg_replace('/^#\d+/', '#1', $server->child->line('/says/')));
    fwrite($server->child->stdin, "from the terminal\n");
    same('from the terminal', $client->message());
    fclose($server->child->stdin);
    same('1001', substr($client->closeCode(), 0, 4));
    $client->sendClose(1001);
    same(0, $server->child->wait(), 'exit status');
});

foreach (['revolt', 'react'] as $name) {
    $autoloader = library($name);
    if (!$autoloader) {
        skip("event-loop/$name", 'its autoloader is missing');
        continue;
    }
    test("event-loop/$name", function () use ($examples, $name, $autoloader): void {
        $server = TestServer::command(
            ['@php@', "$examples/event-loop/$name.php", '127.0.0.1:0'],
            ['COMPOSER_AUTOLOAD' => $autoloader],
        );
        $client = $server->open();
        same('You said: hello', $client->send('hello')->message());
        check(preg_match('/^It is \d\d:/', $client->message()) === 1, 'the timer sends another message');
        $server->signal(2);
        same('1001', substr($client->closeCode(), 0, 4));
        $client->sendClose(1001);
        same(0, $server->child->wait(), 'exit status');
    });
}

test('resume: a client that was away gets the messages that it missed', function () use ($examples): void {
    $server = TestServer::script("$examples/resume/server.php", '127.0.0.1:0');
    // Reads messages up to and including the first one that has this key.
    $until = function (Client $client, string $key): array {
        $before = [];
        while (!array_key_exists($key, $message = json_decode($client->message(), true))) {
            $before[] = $message;
        }
        return [$message, $before];
    };
    $enter = function (string $name, string $after = '') use ($server, $until): array {
        $client = (new Client(rtrim($server->address, '/')))->open();
        $client->send(json_encode(['name' => $name, 'after' => $after]));
        return [$client, ...$until($client, 'resumed')];
    };
    [$ann, $answer] = $enter('ann');
    same([true, 0], [$answer['resumed'], $answer['messages']]);
    [$bob, $answer] = $enter('bob');
    same(['ann', 'bob'], $until($bob, 'people')[0]['people']);
    $bob->drop();
    foreach (['one', 'two'] as $text) {
        $ann->send(json_encode(['text' => $text]));
    }
    $last = null;
    while ($last !== 'two') {
        $last = $until($ann, 'text')[0]['text'];
    }
    [$bob, $resumed, $missed] = $enter('bob', $answer['position']);
    same([true, 2], [$resumed['resumed'], $resumed['messages']]);
    same(['one', 'two'], array_column($missed, 'text'), 'missed messages');
    same(array_column($missed, 'position')[1], $resumed['position'], 'position');
});

test('chat reports why it cannot start', function () use ($examples): void {
    $taken = stream_socket_server('tcp://127.0.0.1:0');
    $name = stream_socket_get_name($taken, false);
    $child = Child::script("$examples/chat/server.php", $name);
    same(1, $child->wait(), 'exit status');
    check(str_contains($child->output, $name) && !str_contains($child->output, 'Stack trace'), $child->output);
});

test('the examples call only functions that a plain Debian PHP has', function () use ($examples): void {
    $plain = ['Core', 'standard', 'date', 'hash', 'json', 'pcre', 'random', 'spl', 'pcntl', 'posix', 'openssl'];
    $called = $defined = [];
    foreach (new RecursiveIteratorIterator(new RecursiveDirectoryIterator($examples, FilesystemIterator::SKIP_DOTS)) as $file) {
        if ($file->getExtension() !== 'php') {
            continue;
        }
        $tokens = array_values(array_filter(PhpToken::tokenize(file_get_contents($file->getPathname())), fn ($token) => !$token->isIgnorable()));
        foreach ($tokens as $i => $token) {
            if ($i === 0 || !$token->is(T_STRING) || ($tokens[$i + 1]->text ?? '') !== '(') {
                continue;
            }
            if ($tokens[$i - 1]->is(T_FUNCTION)) {
                $defined[] = $token->text;
            } elseif (!$tokens[$i - 1]->is([T_OBJECT_OPERATOR, T_NULLSAFE_OBJECT_OPERATOR, T_DOUBLE_COLON, T_NEW])) {
                $called[$token->text] = $file->getPathname();
            }
        }
    }
    check(isset($called['json_encode']), 'calls are found');
    foreach (array_diff_key($called, array_flip($defined)) as $function => $file) {
        $from = function_exists($function) ? (new ReflectionFunction($function))->getExtensionName() : 'no loaded extension';
        check(in_array($from, $plain, true), "$file calls $function(), which is from $from");
    }
});
