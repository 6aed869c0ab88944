--TEST--
If nothing listens or answers on the publish socket, publish() throws within its timeout
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$path = sys_get_temp_dir() . '/sprocket-silent-' . getmypid() . '.sock';
$publisher = new Sprocket\Publisher("unix://$path", timeout: 30.0);
$impatient = new Sprocket\Publisher("unix://$path", timeout: 0.3);
function attempt(Sprocket\Publisher $publisher, string $payload = 'x'): void
{
    global $path, $impatient;
    $begun = microtime(true);
    try {
        $publisher->publish('a', $payload);
        echo "published\n";
    } catch (Sprocket\PublishException $e) {
        $took = microtime(true) - $begun;
        echo str_replace($path, 'PATH', $e->getMessage()), ' ', $e->getCode(), ' ', json_encode($e->uncertain), ' ',
            $took < 0.25 || ($took < 9 && $publisher !== $impatient) ? 'at once' : ($took < 9 ? 'in time' : "late: $took"), ' ',
            $e instanceof Sprocket\Exception && $e instanceof RuntimeException ? '' : 'of another class', "\n";
    }
}
attempt($publisher);
$silent = stream_socket_server("unix://$path");
attempt($impatient);
fclose($silent);
// The socket file still exists.
attempt($publisher);
unlink($path);

$server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(publishSocket: $path, sendBufferLimit: 1000));
$server->start();
attempt($publisher);
attempt($publisher, str_repeat('x', 1001));
attempt($publisher);
$server->stop(0);
attempt($publisher);
halt($server);
$other = new Sprocket\Server("unix://$path");
$other->start();
$publisher = new Sprocket\Publisher("unix://$path", timeout: 10.0);
attempt($publisher);
halt($other);
--EXPECTF--
Cannot connect to unix://PATH: No such file or directory (os error 2) 2 false at once 
The server at unix://PATH did not answer within 300ms; the message may have been published 0 true in time 
Cannot connect to unix://PATH: Connection refused (os error 111) 111 false at once 
published
The server at unix://PATH refused the message: the payload has 1001 bytes, but the limit is 1000 0 false at once 
published
%s %d false at once 
The server at unix://PATH is not a publish socket: it answered "HTTP/1.1 400 Bad Request%S 0 false at once 
