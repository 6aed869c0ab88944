<?php
require __DIR__ . '/../inc/client.inc';

foreach (['fd://0', 'fd://999'] as $listen) {
    echo thrown(fn () => (new Sprocket\Server($listen))->start(), $listen), "\n";
}
