<?php

/**
 * A Symfony session that a web application has written, read at open, in each of PHP's formats.
 */

require __DIR__ . '/support/harness.php';

needs('session', ['symfony-http-foundation' => 'Symfony/Component/HttpFoundation']);

$directory = sys_get_temp_dir() . '/sprocket-sessions-' . getmypid();
mkdir($directory, 0700);
register_shutdown_function(function () use ($directory) {
    array_map('unlink', glob("$directory/*"));
    rmdir($directory);
});

/** Lets PHP itself write a session, with values that are hard to parse. */
function write(string $directory, string $handler, string $id): void
{
    $code = <<<'CODE'
        session_save_path($argv[1]);
        ini_set('session.serialize_handler', $argv[2]);
        ini_set('session.use_strict_mode', '0');
        session_id($argv[3]);
        session_start();
        $_SESSION['_sf2_attributes'] = ['name' => "Ann|O'Hara;}", 'list' => [1, 2.5, null, true, ['x' => 'a|b:1;']]];
        $_SESSION['other'] = new ArrayObject([1, 2]);
        $_SESSION['_sf2_flashes'] = [];
        session_write_close();
        CODE;
    $command = array_map('escapeshellarg', [getenv('PHP') ?: PHP_BINARY, '-r', $code, $directory, $handler, $id]);
    exec(implode(' ', $command), $output, $status);
    same(0, $status, 'writing the session: ' . implode("\n", $output));
}

foreach (['php', 'php_binary', 'php_serialize'] as $handler) {
    if (original() && $handler === 'php_serialize') {
        skip("session in the format $handler", 'Ratchet has no class for it');
        continue;
    }
    check("session in the format $handler", function () use ($directory, $handler) {
        $id = "id$handler" . str_repeat('a', 20);
        $id = str_replace('_', '', $id);
        write($directory, $handler, $id);
        $server = new ServerProcess('session', [$directory, $handler, '{}']);
        $client = Client::open($server->port, '/', ['Cookie' => "theme=dark; PHPSESSID=$id"]);
        same(["Ann|O'Hara;}", [1, 2.5, null, true, ['x' => 'a|b:1;']], $id], json_decode($client->nextText(), true));
        same('', trim($server->stderr), 'warnings');
    });
}

check('without the cookie: an empty session', function () use ($directory) {
    $server = new ServerProcess('session', [$directory, 'php', '{}']);
    $client = Client::open($server->port);
    same([null, null], array_slice(json_decode($client->nextText(), true), 0, 2));
});

check('another name for the cookie, in the options', function () use ($directory) {
    write($directory, 'php', 'named');
    $server = new ServerProcess('session', [$directory, 'php', '{"name":"MYSESSION","auto_start":1}']);
    $client = Client::open($server->port, '/', ['Cookie' => 'PHPSESSID=wrong; MYSESSION=named']);
    same("Ann|O'Hara;}", json_decode($client->nextText(), true)[0]);
});

check('values that the application sets stay with the connection and are not written', function () use ($directory) {
    $server = new ServerProcess('session', [$directory, 'php', '{}']);
    $before = file_get_contents("$directory/sess_named");
    $client = Client::open($server->port, '/', ['Cookie' => 'PHPSESSID=named']);
    $client->next();
    $client->text('Eve');
    same('Eve', original() ? 'Eve' : $client->nextText());
    same(0, $server->count('written') + $server->count('destroyed'));
    same($before, file_get_contents("$directory/sess_named"));
});

finish();
