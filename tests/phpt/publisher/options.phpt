--TEST--
A publish socket in use is an error that names it, a stale socket is replaced, and any other file is kept
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$path = sys_get_temp_dir() . '/sprocket-options-' . getmypid() . '.sock';
$options = new Sprocket\Options(publishSocket: $path, publishSocketMode: 0660);
[$first, $second] = [new Sprocket\Server('ws://127.0.0.1:0', $options), new Sprocket\Server('ws://127.0.0.1:0', $options)];
$first->start();
printf("%o\n", fileperms($path) & 0777);
echo thrown(fn () => $second->start(), "Cannot listen on the publish socket unix://$path"), "\n";
(new Sprocket\Publisher("unix://$path"))->publish('a', 'still the first');
echo $first->stats()['socketPublished'], ' ', json_encode($second->addresses()), "\n";
halt($first);
var_dump(file_exists($path));
// A killed server leaves such a file behind.
fclose(stream_socket_server("unix://$path"));
$second->start();
(new Sprocket\Publisher("unix://$path"))->publish('a', 'the second');
echo $second->stats()['socketPublished'], "\n";
halt($second);
file_put_contents($path, 'a file');
echo thrown(fn () => $first->start()), ' ', file_get_contents($path), "\n";
unlink($path);
--EXPECT--
660
Sprocket\BindException
1 []
bool(false)
1
Sprocket\BindException a file
