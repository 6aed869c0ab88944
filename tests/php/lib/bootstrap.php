<?php

declare(strict_types=1);

/**
 * Shared code of driver tests. A driver test is a PHP script that prints `ok - name`,
 * `not ok - name - reason` or `skip - name - reason` for each test, and exits non-zero on failure.
 */

require_once __DIR__ . '/../../phpt/inc/client.inc';
require_once __DIR__ . '/../../phpt/inc/child.inc';
require_once __DIR__ . '/TestServer.php';

error_reporting(E_ALL);
set_error_handler(function (int $level, string $message, string $file, int $line): bool {
    if (error_reporting() & $level) {
        throw new ErrorException($message, 0, $level, $file, $line);
    }
    return true;
});

final class Report
{
    public static int $failed = 0;
    public static int $reported = 0;
}

register_shutdown_function(function (): void {
    if (Report::$failed > 0 || Report::$reported === 0) {
        exit(1);
    }
});

/** Runs one test. A test fails by throwing an exception. */
function test(string $name, callable $body): void
{
    Report::$reported++;
    try {
        $body();
        echo "ok - $name\n";
    } catch (Throwable $e) {
        Report::$failed++;
        $where = '';
        foreach ([['file' => $e->getFile(), 'line' => $e->getLine()], ...$e->getTrace()] as $frame) {
            if (str_ends_with($frame['file'] ?? '', '.test.php')) {
                $where = ' (line ' . $frame['line'] . ')';
                break;
            }
        }
        $why = $e instanceof RuntimeException ? $e->getMessage() : $e::class . ": {$e->getMessage()}";
        echo "not ok - $name - ", str_replace("\n", ' | ', trim($why)), "$where\n";
    }
}

function skip(string $name, string $reason): void
{
    Report::$reported++;
    echo "skip - $name - $reason\n";
}

function check(bool $holds, string $otherwise): void
{
    $holds || throw new RuntimeException($otherwise);
}

function same(mixed $expected, mixed $actual, string $what = 'value'): void
{
    if ($expected !== $actual) {
        throw new RuntimeException("$what is " . json_encode($actual) . ', not ' . json_encode($expected));
    }
}

/** Waits until $condition holds. */
function until(callable $condition, string $what, float $timeout = 10.0): void
{
    $deadline = microtime(true) + $timeout;
    while (!$condition()) {
        if (microtime(true) > $deadline) {
            throw new RuntimeException("not within $timeout s: $what");
        }
        usleep(10_000);
    }
}

/** The duration of a call in seconds. */
function seconds(callable $call): float
{
    $start = hrtime(true);
    $call();
    return (hrtime(true) - $start) / 1e9;
}

/** CPU seconds used by a process, including all its threads. */
function cpu_seconds(int $pid): float
{
    $fields = explode(' ', substr(strrchr(file_get_contents("/proc/$pid/stat"), ')'), 2));
    return ($fields[11] + $fields[12]) / 100; // utime, stime; USER_HZ is 100 on Linux
}

/**
 * The autoloader of an event loop library ("revolt" or "react"). The environment variable
 * REVOLT_AUTOLOAD or REACT_AUTOLOAD names it; otherwise it is fetched from Debian. Null if there is none.
 */
function library(string $name): ?string
{
    $variable = strtoupper($name) . '_AUTOLOAD';
    $file = getenv($variable);
    if ($file) {
        return is_file($file) ? $file : throw new RuntimeException("$variable is $file, which is not a file");
    }
    $file = trim((string) shell_exec('bash ' . escapeshellarg(__DIR__ . '/php-library.sh') . " $name"));
    return is_file($file) ? $file : null;
}
