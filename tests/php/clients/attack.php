<?php

declare(strict_types=1);

/**
 * One attacker: `attack.php WS-ADDRESS WSS-ADDRESS PUBLISH-SOCKET NAME SECONDS`, where NAME is a key of
 * Attacks::all(). Prints, as JSON, how many steps the server accepted and how many it refused or cut. An
 * attacker without any accepted step continues for up to 30 more seconds.
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
