<?php

/**
 * The package in a project: the packages that it replaces for Composer, and a machine without the extension.
 */

require __DIR__ . '/support/harness.php';

needs('composer');
if (original()) {
    skip('composer', 'about the package of this repository');
    finish();
}

extension_loaded('sprocket') ? skip('without the extension', 'php.ini loads it') : check('without the extension React serves, and the log says so once', function () {
    $so = getenv('SPROCKET_SO');
    putenv('SPROCKET_SO');
    try {
        $server = new ServerProcess('departures', ['plain'], ['log_errors' => '1', 'error_log' => '']);
    } finally {
        putenv("SPROCKET_SO=$so");
    }
    $client = Client::open($server->port);
    $client->text('hi');
    same('echo hi', $client->nextText());
    $client->close();
    $server->wait('close');
    $server->isRunning();
    same(1, substr_count($server->stderr, 'The extension sprocket is not loaded'), "lines in: $server->stderr");
});

check('every file of the package declares strict types', function () {
    // The types of some values are the application's choice: Ratchet takes any scalar as the payload of a
    // frame, and options are coerced as in a call of Sprocket\Options without strict types.
    $exceptions = ['Native/Settings.php', 'RFC6455/Messaging/Frame.php'];
    $folder = realpath(__DIR__ . '/../../php/ratchet/src');
    $loose = [];
    foreach (new RecursiveIteratorIterator(new RecursiveDirectoryIterator($folder, FilesystemIterator::SKIP_DOTS)) as $file) {
        if (!str_contains(file_get_contents($file->getPathname()), "\ndeclare(strict_types=1);\n")) {
            $loose[] = substr($file->getPathname(), strlen($folder) + 1);
        }
    }
    sort($loose);
    same($exceptions, $loose);
});

/** A project that asks for the package and, by way of a library, for what it replaces. */
function resolve(array $requires): array
{
    $folder = sys_get_temp_dir() . '/sprocket-composer-' . getmypid();
    @mkdir("$folder/home", 0700, true);
    $package = __DIR__ . '/../../php/ratchet';
    $repositories = [['packagist' => false], ['type' => 'path', 'url' => $package, 'options' => ['versions' => ['sprocket/ratchet' => '1.0.0']]]];
    $packages = ['lib/chat' => ['1.0.0', $requires]];
    foreach (json_decode(file_get_contents("$package/composer.json"), true)['require'] as $name => $constraint) {
        if (str_contains($name, '/')) {
            // The newest major version that is allowed.
            $packages[$name] = [substr(strrchr($constraint, '^'), 1) . '.0', []];
        }
    }
    foreach ($packages as $name => [$version, $needs]) {
        $definition = ['name' => $name, 'version' => $version, 'type' => 'metapackage', 'require' => (object) $needs];
        $repositories[] = ['type' => 'package', 'package' => $definition];
    }
    file_put_contents("$folder/composer.json", json_encode([
        'repositories' => $repositories,
        'require' => ['sprocket/ratchet' => '*', 'lib/chat' => '*'],
        'config' => ['platform' => ['ext-sprocket' => '1.0.0'], 'lock' => false],
    ]));
    $command = ['composer', 'update', '--dry-run', '--no-interaction', '--no-ansi', '--no-plugins', "--working-dir=$folder"];
    $environment = ['COMPOSER_HOME' => "$folder/home", 'COMPOSER_ALLOW_SUPERUSER' => '1', 'COMPOSER_DISABLE_NETWORK' => '1'] + getenv();
    $process = proc_open($command, [1 => ['pipe', 'w'], 2 => ['redirect', 1]], $pipes, null, $environment);
    $output = stream_get_contents($pipes[1]);
    $status = proc_close($process);
    unlink("$folder/composer.json");
    exec('rm -rf ' . escapeshellarg($folder));

    return [$status, $output];
}

$found = array_filter(explode(PATH_SEPARATOR, (string) getenv('PATH')), fn ($folder) => is_executable("$folder/composer"));
if ($found === []) {
    skip('what Composer accepts the package in place of', 'composer is not installed (Debian: composer)');
    finish();
}
foreach (['^0.4', '0.4.4', '0.4.x-dev', 'dev-master'] as $version) {
    check("a library that needs cboden/ratchet $version is content with the package, also beside Symfony 8", function () use ($version) {
        [$status, $output] = resolve(['cboden/ratchet' => $version, 'ratchet/rfc6455' => '^0.3.1', 'symfony/routing' => '^8.0']);
        same([0, true], [$status, str_contains($output, 'sprocket/ratchet')], $output);
    });
}
check('a library that needs ratchet/rfc6455 0.4 is not', function () {
    same(2, resolve(['ratchet/rfc6455' => '^0.4'])[0]);
});

finish();
