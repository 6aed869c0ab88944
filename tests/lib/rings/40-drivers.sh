# PHP scripts that drive it from outside: raw sockets, loops, signals, valgrind, Ratchet applications

ring_needs() { has valgrind || want valgrind; }

ring_run() {
    local file
    for file in tests/php/*.test.php tests/ratchet/*.test.php; do
        [ ! -f "$file" ] || tap "$file" 300 "$PHP" "$file"
    done
}
