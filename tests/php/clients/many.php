<?php

declare(strict_types=1);

/**
 * Many clients in one process: `many.php ADDRESS COUNT`. Says "open" when all are, then for each
 * line on stdin has each client say something and says "echoed" when all have their answer.
 */

require __DIR__ . '/../../phpt/inc/client.inc';

[, $address, $count] = $argv;
$clients = [];
// Without select(), which ends at descriptor 1024.
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
