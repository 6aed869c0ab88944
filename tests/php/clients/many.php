<?php

declare(strict_types=1);

/**
 * Many clients in one process: `many.php ADDRESS COUNT`. Prints "open" when all are connected. For each
 * line on stdin every client sends a message, and the script prints "echoed" when all have their echo.
 */

require __DIR__ . '/../../phpt/inc/client.inc';

[, $address, $count] = $argv;
$clients = [];
// Avoids select(), which cannot handle descriptors above 1023.
$wait = fn () => usleep(1000);
for ($i = 0; $i < $count; $i++) {
    $clients[] = (new Client($address, $wait))->open();
}
echo "open\n";
while (fgets(STDIN) !== false) {
    foreach ($clients as $i => $client) {
        $client->send("client $i");
    }
    foreach ($clients as $i => $client) {
        if ($client->message(30.0) !== "client $i") {
            exit("a wrong answer\n");
        }
    }
    echo "echoed\n";
}
