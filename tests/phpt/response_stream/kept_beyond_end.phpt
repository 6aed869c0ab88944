--TEST--
A stream object may be kept after its server has stopped or restarted
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/stream.inc';

$server = streaming($streams);
$client = ask($server);
head($client);
halt($server);
$old = $streams[0];
$show = fn ($s) => print json_encode([$s->isOpen(), $s->write('x'), $s->end(), $s->bufferedAmount()]) . "\n";
$show($old);

$server->start();
$client = ask($server, '/again');
head($client);
$old->onClose(function (): void { echo "never\n"; });
$old->terminate();
$show($old);
$streams[1]->end('untouched');
echo body($client), "\n";

$client = ask($server);
head($client);
$path = $streams[2]->request->path();
unset($server, $client);
$show($streams[2]);
echo $path, "\n";
--EXPECT--
[false,false,false,0]
[false,false,false,0]
untouched
[false,false,false,0]
/
