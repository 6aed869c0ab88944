--TEST--
Tls shows its settings except for the passphrase, and refuses invalid ones
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

use Sprocket\{Options, Server, Tls};

$tls = new Tls('/c.pem', '/k.pem', 'sesame', ['a.example' => new Tls('/a.pem')], '/ca.pem', false, '1.3', 5.0, false);
echo json_encode($tls), "\n";
echo str_contains(print_r($tls, true) . var_export($tls, true), 'sesame') ? 'shown' : 'hidden', "\n";
echo json_encode(new Tls('/both.pem')), "\n";

$bad = [
    'certificate' => ['', "/a\0b"], 'key' => ['', "/a\0b"], 'clientCa' => [''],
    'minVersion' => ['1.1', '', 'TLSv1.2'], 'reloadInterval' => [-1.0, 0.001, NAN, 86401.0],
    'hosts' => [['a b' => new Tls('/a')], ['' => new Tls('/a')], ['*' => new Tls('/a')], ['a.*' => new Tls('/a')],
        ['a.example' => '/a.pem'], [new stdClass], ['a.example' => $tls]],
];
foreach ($bad as $option => $values) {
    foreach ($values as $i => $value) {
        $e = thrown(fn () => new Tls(...([$option => $value] + ['certificate' => '/c.pem'])), "Option $option must be");
        echo $e === 'Sprocket\InvalidOption' ? '' : "$option $i: $e\n";
    }
}
echo thrown(fn () => new Tls()), "\n";
echo thrown(fn () => $tls->__construct('/x')), "\n";
echo thrown(function () use ($tls) { $tls->key = '/x'; }), "\n";
echo thrown(fn () => clone $tls), ' ', thrown(fn () => serialize($tls)), "\n";

echo thrown(fn () => new Server('wss://127.0.0.1:0'), 'Option tls must be'), "\n";
echo thrown(fn () => new Server('fd://3?tls', new Options()), 'Option tls must be'), "\n";
$server = new Server('wss://127.0.0.1:0', new Options(tls: new Tls('/nonexistent/c.pem')));
echo thrown(fn () => $server->reloadTls()), "\n";
echo thrown(fn () => $server->start(), '/nonexistent/c.pem', 'No such file'), "\n";
var_dump($server->isRunning());
--EXPECT--
{"certificate":"\/c.pem","key":"\/k.pem","hosts":{"a.example":{"certificate":"\/a.pem","key":null,"hosts":[],"clientCa":null,"clientRequired":true,"minVersion":"1.2","reloadInterval":0,"http2":true}},"clientCa":"\/ca.pem","clientRequired":false,"minVersion":"1.3","reloadInterval":5,"http2":false}
hidden
{"certificate":"\/both.pem","key":null,"hosts":[],"clientCa":null,"clientRequired":true,"minVersion":"1.2","reloadInterval":0,"http2":true}
ArgumentCountError
Error
Error
Error Exception
Sprocket\InvalidOption
Sprocket\InvalidOption
Sprocket\StateException
Sprocket\TlsException
bool(false)
