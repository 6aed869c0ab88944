--TEST--
A Unix socket address never replaces a file that is not a socket
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$path = tempnam(sys_get_temp_dir(), 'sprocket');
file_put_contents($path, 'precious');
echo thrown(fn () => (new Sprocket\Server("unix://$path"))->start(), $path), "\n";
echo file_get_contents($path), "\n";
unlink($path);
--EXPECT--
Sprocket\BindException
precious
