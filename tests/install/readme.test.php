<?php
/**
 * The README's first server runs as printed, except for the port, and answers a real client. All other
 * PHP examples in the README are valid PHP.
 */

declare(strict_types=1);

require __DIR__ . '/client.php';

$root = dirname(__DIR__, 2);
$so = getenv('SPROCKET_SO') ?: exit("not ok - SPROCKET_SO is set - it is the path of the built extension\n");
$scratch = sys_get_temp_dir() . '/sprocket-readme-' . getmypid();
mkdir($scratch);
register_shutdown_function(function () use ($scratch): void {
    array_map('unlink', glob("$scratch/*"));
    rmdir($scratch);
});

$failed = false;
function check(string $name, bool $good, string $why = ''): void
{
    global $failed;
    echo $good ? "ok - $name\n" : "not ok - $name - " . strtr(trim($why), "\n", ' ') . "\n";
    $failed = $failed || !$good;
}

preg_match_all('/^```php\n(.*?)^```$/ms', file_get_contents("$root/README.md"), $found);
$examples = $found[1];
check('the README has examples', count($examples) > 2, count($examples) . ' found');

foreach ($examples as $i => $code) {
    $file = "$scratch/example$i.php";
    file_put_contents($file, str_starts_with($code, '<?php') ? $code : "<?php\n$code");
    $said = shell_exec(escapeshellarg(PHP_BINARY) . ' -n -l ' . escapeshellarg($file) . ' 2>&1');
    check("example $i is valid PHP", str_contains($said, 'No syntax errors'), strtok($said, "\n"));
}

$server = $examples[0];
check('the first server has at most 15 lines', substr_count($server, "\n") <= 15);
file_put_contents("$scratch/server.php", str_replace(':8080', ':0', $server, $ports));
check('the first server names its port once', $ports === 1);

$process = proc_open(
    [PHP_BINARY, '-d', "extension=$so", "$scratch/server.php"],
    [['file', '/dev/null', 'r'], ['pipe', 'w'], ['redirect', 1]],
    $pipes,
);
try {
    stream_set_timeout($pipes[1], 10);
    $line = (string) fgets($pipes[1]);
    if (preg_match('#ws://(127\.0\.0\.1:\d+)#', $line, $address) !== 1) {
        throw new RuntimeException("it prints no address, but: $line");
    }
    echo "ok - the first server prints its address\n";
    $one = new Client($address[1]);
    $two = new Client($address[1]);
    $one->send('hello, "everybody" ✓');
    check('every other client gets a message', $two->receive() === 'hello, "everybody" ✓');
    check('the sender gets it as well', $one->receive() === 'hello, "everybody" ✓');
    $two->send('hello yourself');
    check('the other direction works as well', $one->receive() === 'hello yourself');
} catch (Throwable $error) {
    check('the first server serves', false, $error->getMessage());
} finally {
    proc_terminate($process); // SIGTERM
    $rest = stream_get_contents($pipes[1]);
    check('the first server prints nothing else', $rest === '', (string) $rest);
    check('SIGTERM stops the first server with status 0', proc_close($process) === 0);
}

exit($failed ? 1 : 0);
