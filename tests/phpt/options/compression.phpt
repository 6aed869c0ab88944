--TEST--
Compression has documented defaults, keeps given values, and refuses invalid ones
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

use Sprocket\{Compression, Options};

echo json_encode(new Compression()), "\n";
$given = [
    'threshold' => 0, 'level' => 9, 'serverMaxWindowBits' => 9, 'clientMaxWindowBits' => 10,
    'contextTakeover' => true, 'maxContextMemory' => 0,
];
$compression = new Compression(...$given);
var_dump(get_object_vars($compression) === $given);
var_dump((new Options(compression: $compression))->compression === $compression);
var_dump((new Options(compression: true))->compression, (new Options(compression: 1))->compression);

$bad = [
    'threshold' => [-1, 2147483648], 'level' => [0, 10], 'serverMaxWindowBits' => [8, 16],
    'clientMaxWindowBits' => [8, 16], 'maxContextMemory' => [-1],
];
foreach ($bad as $name => $values) {
    foreach ($values as $value) {
        try {
            new Compression(...[$name => $value]);
            echo "$name: $value is accepted\n";
        } catch (Sprocket\InvalidOption $e) {
            echo $e->option === $name && $e->value === $value ? '' : "$name: $value: {$e->getMessage()}\n";
        }
    }
}
foreach ([null, [], new stdClass(), fopen('php://memory', 'r')] as $value) {
    echo thrown(fn () => new Options(compression: $value), '$compression', 'must be of type', 'bool'), "\n";
}
echo thrown(function () use ($compression) { $compression->level = 1; }), "\n";
echo thrown(fn () => $compression->__construct(level: 5)), ' ', $compression->level, "\n";
echo thrown(fn () => clone $compression), "\n";
--EXPECT--
{"threshold":1024,"level":1,"serverMaxWindowBits":15,"clientMaxWindowBits":15,"contextTakeover":false,"maxContextMemory":67108864}
bool(true)
bool(true)
bool(true)
bool(true)
TypeError
TypeError
TypeError
TypeError
Error
Error 9
Error
