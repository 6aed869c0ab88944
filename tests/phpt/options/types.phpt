--TEST--
A value of the wrong type is a TypeError in PHP's own words
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

foreach (['maxConnections' => 'many', 'maxMessageSize' => [], 'pingInterval' => 'often', 'slowConsumer' => 'close', 'origins' => '*', 'subprotocols' => null, 'healthPath' => [], 'compression' => null, 'history' => 'room.*', 'broker' => [], 'brokerQueue' => 'much'] as $option => $value) {
    echo thrown(fn () => new Sprocket\Options(...[$option => $value]), "\$$option", 'must be of type'), "\n";
}
echo thrown(fn () => new Sprocket\Options(nonsense: 1), 'nonsense'), "\n";
var_dump((new Sprocket\Options(maxMessageSize: '100'))->maxMessageSize);
--EXPECT--
TypeError
TypeError
TypeError
TypeError
TypeError
TypeError
TypeError
TypeError
TypeError
TypeError
TypeError
Error
int(100)
