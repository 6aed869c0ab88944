<?php
/**
 * The Sprocket server. Arguments: PORT echo|fan|chat|tls [loop] [option=value …].
 *
 * `tls` is `echo` over TLS, with the certificate of SPROCKET_BENCH_CERTIFICATE and SPROCKET_BENCH_KEY.
 * `fan` sends each message to every connection. `chat` takes a connection's first message as the name
 * of its room and sends it back, and sends each further message to all members of the room. Both use
 * topics, or with `loop` a PHP loop over the members. Options are those of Sprocket\Options as JSON;
 * `tls={"certificate": …, "key": …}` makes the server listen on wss://.
 */
declare(strict_types=1);

use Sprocket\{Connection, Options, Server, Tls};

$port = (int) ($argv[1] ?? 0);
$mode = $argv[2] ?? '';
$loop = false;
$options = [];
foreach (array_slice($argv, 3) as $argument) {
    if ($argument === 'loop') {
        $loop = true;
        continue;
    }
    [$name, $value] = explode('=', $argument, 2);
    $options[$name] = json_decode($value, true, flags: JSON_THROW_ON_ERROR);
}

if ($mode === 'tls') {
    $options['tls'] = ['certificate' => getenv('SPROCKET_BENCH_CERTIFICATE'), 'key' => getenv('SPROCKET_BENCH_KEY')];
}
$scheme = 'ws';
if (isset($options['tls'])) {
    $scheme = 'wss';
    $options['tls'] = new Tls(...$options['tls']);
}
$server = new Server("$scheme://127.0.0.1:$port", new Options(...$options));

if ($mode === 'echo' || $mode === 'tls') {
    $server->onMessage(static function (Connection $c, string $payload, bool $binary): void {
        $c->send($payload, $binary);
    });
} elseif ($mode === 'fan' && !$loop) {
    $server->onOpen(static fn (Connection $c) => $c->subscribe('all'));
    $server->onMessage(static function (Connection $c, string $payload, bool $binary) use ($server): void {
        $server->publish('all', $payload, $binary);
    });
} elseif ($mode === 'fan') {
    $all = new SplObjectStorage();
    $server->onOpen(static fn (Connection $c) => $all->attach($c));
    $server->onClose(static fn (Connection $c) => $all->detach($c));
    $server->onMessage(static function (Connection $c, string $payload, bool $binary) use ($all): void {
        foreach ($all as $member) {
            $member->send($payload, $binary);
        }
    });
} elseif ($mode === 'chat' && !$loop) {
    $server->onMessage(static function (Connection $c, string $payload, bool $binary) use ($server): void {
        if ($c->data === null) {
            $c->data = $payload;
            $c->subscribe($payload);
            $c->send($payload, $binary);
            return;
        }
        $server->publish($c->data, $payload, $binary);
    });
} elseif ($mode === 'chat') {
    $rooms = [];
    $server->onMessage(static function (Connection $c, string $payload, bool $binary) use (&$rooms): void {
        if ($c->data === null) {
            $c->data = $payload;
            $rooms[$payload][$c->id] = $c;
            $c->send($payload, $binary);
            return;
        }
        foreach ($rooms[$c->data] as $member) {
            $member->send($payload, $binary);
        }
    });
    $server->onClose(static function (Connection $c) use (&$rooms): void {
        unset($rooms[$c->data][$c->id]);
    });
} else {
    fwrite(STDERR, "arguments: PORT echo|fan|chat|tls [loop] [option=value ...]\n");
    exit(2);
}

$server->start();
echo 'ready ', parse_url($server->addresses()[0], PHP_URL_PORT), "\n";
$server->run();
