--TEST--
Options are readonly
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$options = new Sprocket\Options();
foreach (array_keys(get_object_vars($options)) as $name) {
    $e = thrown(function () use ($options, $name) { $options->$name = 5; });
    echo $e === 'Error' ? '' : "$name: $e\n";
}
echo thrown(function () use ($options) { $options->nonsense = 1; }), "\n";
echo thrown(fn () => $options->__construct(maxMessageSize: 5)), ' ', $options->maxMessageSize, "\n";
--EXPECTF--
Error
%s 1048576
