--TEST--
A callback can release its own server, under run() and under poll()
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/child.inc';

foreach (['run', 'poll'] as $how) {
    $child = Child::code(<<<'PHP'
        $server = new Sprocket\Server('ws://127.0.0.1:0');
        $server->onClose(fn () => print("onClose\n"));
        $server->after(0, function () {
            unset($GLOBALS['server']);
            gc_collect_cycles();
            echo "released\n";
            if ($GLOBALS['argv'][1] === 'run') {
                exit(0);
            }
        });
        if ($argv[1] === 'run') {
            $server->run();
        } else {
            $server->start();
            $server->poll(1.0);
        }
        echo "done\n";
        PHP, $how);
    echo $how, ' ', $child->wait(), "\n", $child->output;
}
--EXPECT--
run 0
released
poll 0
released
done
