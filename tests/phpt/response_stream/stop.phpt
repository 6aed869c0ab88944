--TEST--
stop() lets a stream end within the grace period, and then cuts it
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/stream.inc';

$server = streaming($streams);
[$one, $two] = [ask($server, '/one'), ask($server, '/two')];
head($one);
head($two);
foreach ($streams as $stream) {
    $stream->onClose(function ($s, bool $complete) use (&$closed): void {
        $closed[] = $s->request->path() . ' ' . json_encode($complete);
    });
}
$server->stop(0.5);
foreach ($streams as $stream) {
    if ($stream->request->path() === '/one') {
        $stream->end('goodbye');
    }
}
echo body($one), "\n";
pump($server, fn (): bool => !$server->isRunning());
echo implode("\n", $closed), "\n";
echo body($two), "\n";
--EXPECT--
goodbye
/one true
/two false
…
