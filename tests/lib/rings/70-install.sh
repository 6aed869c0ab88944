# phpize, configure, make, make install as a user does it; the README's first example

ring_needs() {
    has phpize || want php-dev
    has make || want make
}

ring_run() {
    local file
    for file in tests/install/*.sh; do tap "$file" 900 "$file"; done
    for file in tests/install/*.test.php; do tap "$file" 120 "$PHP" "$file"; done
}
