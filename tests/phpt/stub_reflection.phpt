--TEST--
The stub and Reflection agree in both directions
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/inc/stub_compare.inc';

$process = proc_open(
    [PHP_BINARY, '-n', __DIR__ . '/inc/stub_compare.inc', dirname(__DIR__, 2) . '/stubs/sprocket.php'],
    [1 => ['pipe', 'w']],
    $pipes,
);
$json = stream_get_contents($pipes[1]);
$status = proc_close($process);
if ($status !== 0) {
    exit("the stub could not be described: status $status\n$json");
}
$stub = json_decode($json, true, flags: JSON_THROW_ON_ERROR);

$extension = new ReflectionExtension('sprocket');
// The JSON round trip gives both descriptions the same types.
$described = json_encode(describe_classes($extension->getClassNames()), JSON_THROW_ON_ERROR);
$loaded = json_decode($described, true, flags: JSON_THROW_ON_ERROR);

foreach (differences($stub, $loaded) as $difference) {
    echo "$difference\n";
}
echo count($stub) >= 13 ? 'classes compared' : 'too few classes: ' . implode(', ', array_keys($stub)), "\n";
echo 'functions: ', count($extension->getFunctions()), "\n";
echo 'constants: ', count($extension->getConstants()), "\n";
?>
--EXPECT--
classes compared
functions: 0
constants: 0
