--TEST--
A logger is a callable, or an object with a method log
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

function to_function(string $level, string $message, array $context): void { say('function', $level); }
function say(string $who, string $level): void { echo "$who $level\n"; }

class Psr { public function log($level, $message, array $context = []) { say('psr', $level); } }
class Both extends Psr { public function __invoke(...$a) { say('invoked', $a[0]); } }
class Invokable { public function __invoke(string $level, string $message, array $context) { say('invokable', $level); } }
class Magic { public function __call($name, $arguments) { say("magic $name", $arguments[0]); } }
class MagicInvokable extends Magic { public function __invoke(string $level) { say('invokable', $level); } }
class Hidden { private function log($level) {} }
class Other {
    public function write(string $level) { say('method', $level); }
    public static function note(string $level) { say('static', $level); }
}

foreach ([
    new Psr(), new Both(), new Invokable(), new Magic(), new MagicInvokable(), 'to_function', [new Other(), 'write'],
    'Other::note', fn (string $level) => say('closure', $level), to_function(...),
] as $logger) {
    $options = new Sprocket\Options(logger: $logger);
    var_dump($options->logger === $logger);
    $server = new Sprocket\Server('ws://127.0.0.1:0', $options);
    unset($options, $logger);
    $server->start();
    unset($server);
}
foreach ([new Hidden(), new stdClass(), 'Other::missing', [new Psr(), 'missing']] as $wrong) {
    echo thrown(fn () => new Sprocket\Options(logger: $wrong), 'Option logger must be null, an object with a public method log'), "\n";
}
--EXPECT--
bool(true)
psr info
bool(true)
psr info
bool(true)
invokable info
bool(true)
magic log info
bool(true)
invokable info
bool(true)
function info
bool(true)
method info
bool(true)
static info
bool(true)
closure info
bool(true)
function info
Sprocket\InvalidOption
Sprocket\InvalidOption
Sprocket\InvalidOption
Sprocket\InvalidOption
