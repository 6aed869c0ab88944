--TEST--
run() throws a ForkException in a child that returns from a callback
--EXTENSIONS--
sprocket
pcntl
--FILE--
<?php
require __DIR__ . '/../inc/child.inc';

$child = Child::code(<<<'PHP'
    $server = new Sprocket\Server('ws://127.0.0.1:0');
    $server->after(0, function () use ($server) {
        if (pcntl_fork() === 0) {
            return;
        }
        pcntl_wait($status);
        echo "child ", pcntl_wifexited($status) ? pcntl_wexitstatus($status) : 'killed', "\n";
        $server->stop();
    });
    try {
        $server->run();
        echo "parent done\n";
    } catch (Sprocket\ForkException $e) {
        echo "ForkException\n";
        exit(4);
    }
    PHP);
echo $child->wait(), "\n", $child->output;
--EXPECT--
0
ForkException
child 4
parent done
