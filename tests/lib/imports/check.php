<?php

/**
 * Checks the order of imports: no loop of more than one file in any crate, and no import that runs
 * upward in the picture of floors in the crate's `lib.rs` (see Crate::floors).
 *
 *     php tests/lib/imports/check.php [FOLDER OF A lib.rs …]
 */

declare(strict_types=1);

namespace Imports;

require __DIR__ . '/Crate.php';

chdir(dirname(__DIR__, 3));
$folders = array_slice($argv, 1) ?: ['src', ...glob('crates/*/src', GLOB_ONLYDIR)];
$failed = false;
foreach ($folders as $folder) {
    $crate = new Crate($folder);
    $loops = $crate->loops();
    $looped = array_sum(array_map('count', $loops));
    $upward = $crate->upward();
    $wrong = $crate->misdrawn();
    if ($upward === null) {
        $wrong[] = "$folder/lib.rs: its documentation has no picture of the floors";
    }
    foreach ($loops as $loop) {
        $wrong[] = "$folder: " . count($loop) . ' files in a loop: ' . implode(' ', $loop);
        array_push($wrong, ...$crate->rounds($loop));
    }
    if ($upward) {
        array_push($wrong, "$folder: imports that run upward:", ...$upward);
    }
    $failed = $failed || $wrong;
    foreach ($wrong as $line) {
        echo "$line\n";
    }
    echo "$folder: $looped files in loops, ",
        $upward === null ? 'no floors drawn' : count($upward) . ' imports upward', "\n";
}
exit($failed ? 1 : 0);
