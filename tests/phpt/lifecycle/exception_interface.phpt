--TEST--
A user class may implement Sprocket\Exception only if it is an exception
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/child.inc';

$child = Child::code('class Mine implements Sprocket\Exception {}');
$child->wait();
echo preg_match('/Fatal error/', $child->output), "\n";
class Ours extends RuntimeException implements Sprocket\Exception {}
var_dump(new Ours instanceof Sprocket\Exception);
--EXPECT--
1
bool(true)
