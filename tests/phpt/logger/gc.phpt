--TEST--
A logger that refers to its server does not keep the server alive
--EXTENSIONS--
sprocket
--FILE--
<?php
class Holder
{
    public ?Sprocket\Server $server = null;

    public function log($level, $message, array $context = []): void
    {
    }

    public function __destruct()
    {
        echo "gone\n";
    }
}

foreach ([fn (Holder $h) => $h, fn (Holder $h) => [$h, 'log'], fn (Holder $h) => $h->log(...)] as $make) {
    $holder = new Holder();
    $holder->server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(logger: $make($holder)));
    $holder->server->start();
    unset($holder);
    gc_collect_cycles();
}
echo "done\n";
--EXPECT--
gone
gone
gone
done
