--TEST--
The setters of callbacks return the server
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
foreach (['onUpgrade', 'onOpen', 'onMessage', 'onClose', 'onDrain', 'onPong', 'onRequest', 'onError'] as $setter) {
    if ($server->$setter(fn () => 1) !== $server || $server->$setter(null) !== $server) {
        echo "$setter\n";
    }
}
echo "done\n";
--EXPECT--
done
