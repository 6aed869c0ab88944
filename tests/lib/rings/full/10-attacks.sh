# All attacks on the server's memory at once for a minute, and ordinary load for ten minutes

ring_needs() { has openssl || want openssl; }

ring_run() {
    local soak=${SOAK_SECONDS:-600}
    ATTACK_SECONDS=${ATTACK_SECONDS:-60} tap tests/php/attacks.test.php 600 "$PHP" tests/php/attacks.test.php
    tap tests/full/soak.test.php $((soak + 300)) "$PHP" tests/full/soak.test.php
}
