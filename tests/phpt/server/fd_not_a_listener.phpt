--TEST--
A descriptor that is not a listening socket is refused
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

foreach (['fd://0', 'fd://999'] as $listen) {
    echo thrown(fn () => (new Sprocket\Server($listen))->start(), $listen), "\n";
}
--EXPECT--
Sprocket\BindException
Sprocket\BindException
