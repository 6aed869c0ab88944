--TEST--
History has documented defaults, keeps given values, and refuses invalid ones
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

use Sprocket\History;

echo json_encode(new History()), "\n";
$given = ['messages' => 7, 'seconds' => 0.5, 'bytes' => 1000, 'stamp' => '%position%'];
$history = new History(...$given);
var_dump(get_object_vars($history) === $given);
var_dump((new History(seconds: null))->seconds, (new History(seconds: 5))->seconds);

$good = ['messages' => [1, 1_000_000], 'seconds' => [0.001, 31_622_400.0], 'bytes' => [1, 2147483647], 'stamp' => ['x', str_repeat('é', 32)]];
foreach ($good as $name => $values) {
    foreach ($values as $value) {
        echo (new History(...[$name => $value]))->$name === $value ? '' : "$name changed\n";
    }
}
$bad = [
    'messages' => [0, -1, 1_000_001], 'seconds' => [0.0, -1.0, 0.0009, 31_622_400.5, NAN, INF], 'bytes' => [0, -1, 2147483648],
    'stamp' => ['', str_repeat('x', 65), "\xff"],
];
foreach ($bad as $name => $values) {
    foreach ($values as $value) {
        try {
            new History(...[$name => $value]);
            echo "$name: ", is_float($value) ? $value : json_encode($value), " is accepted\n";
        } catch (Sprocket\InvalidOption $e) {
            $same = $e->value === $value || is_float($value) && is_nan($value);
            echo $e->option === $name && $same ? '' : "$name: {$e->getMessage()}\n";
        }
    }
}
echo thrown(fn () => new History(messages: 'many'), '$messages', 'must be of type int'), "\n";
echo thrown(fn () => new History(seconds: 'long'), '$seconds', 'must be of type ?float'), "\n";
echo thrown(function () use ($history) { $history->messages = 1; }), "\n";
echo thrown(fn () => $history->__construct(messages: 5)), ' ', $history->messages, "\n";
echo thrown(fn () => clone $history), "\n";
--EXPECT--
{"messages":100,"seconds":300,"bytes":1048576,"stamp":null}
bool(true)
NULL
float(5)
TypeError
TypeError
Error
Error 7
Error
