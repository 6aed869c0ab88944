# PHP scripts that drive the extension from outside: raw sockets, loops, signals, valgrind

ring_needs() {
    has valgrind || want valgrind
    has ps || want procps
}

ring_run() {
    local file
    for file in tests/php/*.test.php php/*/tests/*.test.php; do
        [ ! -f "$file" ] || tap "$file" 300 "$PHP" "$file"
    done
}
