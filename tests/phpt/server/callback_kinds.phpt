--TEST--
Every kind of callable works as a callback
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

function named($c, $m) { $c->send("function $m"); }
class Kinds
{
    public function method($c, $m) { $c->send("method $m"); }
    public static function fixed($c, $m) { $c->send("static $m"); }
    public function __invoke($c, $m) { $c->send("invoke $m"); }
    public function __call($name, $a) { $a[0]->send("__call $name $a[1]"); }
    public static function __callStatic($name, $a) { $a[0]->send("__callStatic $name $a[1]"); }
    private function hidden($c, $m) { $c->send("private $m"); }
    public function closure() { return $this->hidden(...); }
}
$kinds = new Kinds;
$callables = [
    'named', 'Kinds::fixed', ['Kinds', 'fixed'], [$kinds, 'method'], $kinds, [$kinds, 'magic'], 'Kinds::magicStatic',
    $kinds->closure(), $kinds->method(...), named(...), fn ($c, $m) => $c->send("arrow $m"),
];
$server = new Sprocket\Server('ws://127.0.0.1:0');
$server->start();
$client = Client::of($server)->open();
foreach ($callables as $callable) {
    $server->onMessage($callable);
    $client->send('1')->send('2');
    echo $client->message(), ', ', $client->message(), "\n";
}
--EXPECT--
function 1, function 2
static 1, static 2
static 1, static 2
method 1, method 2
invoke 1, invoke 2
__call magic 1, __call magic 2
__callStatic magicStatic 1, __callStatic magicStatic 2
private 1, private 2
method 1, method 2
function 1, function 2
arrow 1, arrow 2
