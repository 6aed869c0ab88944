--TEST--
A forked child cannot use the streams of its parent
--EXTENSIONS--
sprocket
pcntl
--FILE--
<?php
require __DIR__ . '/../inc/stream.inc';

$server = streaming($streams);
$client = ask($server);
head($client);
$pid = pcntl_fork();
if ($pid === 0) {
    $stream = $streams[0];
    $said = [
        thrown(fn () => $stream->write('x')), thrown(fn () => $stream->end()), thrown(fn () => $stream->terminate()),
        $stream->isOpen(), $stream->bufferedAmount(),
    ];
    $stream->onClose(fn () => null);
    unset($stream, $streams);
    exit($said === ['Sprocket\ForkException', 'Sprocket\ForkException', 'Sprocket\ForkException', false, 0] ? 6 : 1);
}
pcntl_waitpid($pid, $status);
var_dump(pcntl_wexitstatus($status), $streams[0]->end('of the parent'));
echo body($client), "\n";
--EXPECT--
int(6)
bool(true)
of the parent
