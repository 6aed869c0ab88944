--TEST--
A stream kept after the server has gone is harmless
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->start();
$stream = $server->stream();
halt($server);
unset($server);
gc_collect_cycles();
if (is_resource($stream)) {
    fread($stream, 8);
    fclose($stream);
}
echo "done\n";
--EXPECT--
done
