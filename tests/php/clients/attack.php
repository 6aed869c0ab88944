<?php

declare(strict_types=1);

/**
 * One attacker: `attack.php WS-ADDRESS WSS-ADDRESS PUBLISH-SOCKET NAME SECONDS`, with a name of Attacks.
 * Then it says in JSON how many steps the server took, and how many it refused or cut. One that has come
 * through with nothing by then goes on until it has, for half a minute at most.
 */

require __DIR__ . '/../lib/Attacks.php';

[, $ws, $wss, $socket, $name, $seconds] = $argv;
$step = (new Attacks($ws, $wss, $socket))->all()[$name];
$deadline = microtime(true) + (float) $seconds;
[$taken, $refused] = [0, 0];
while (microtime(true) < $deadline + ($taken > 0 ? 0 : 30)) {
    try {
        $step();
        $taken++;
    } catch (RuntimeException) {
        $refused++;
        usleep(20_000);
    }
}
echo json_encode(['taken' => $taken, 'refused' => $refused]), "\n";
