--TEST--
SlowConsumer is a backed enum
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

var_dump(Sprocket\SlowConsumer::from('drop') === Sprocket\SlowConsumer::Drop, Sprocket\SlowConsumer::tryFrom('x'));
foreach (Sprocket\SlowConsumer::cases() as $case) {
    echo "$case->name $case->value\n";
}
--EXPECT--
bool(true)
NULL
Close close
Drop drop
