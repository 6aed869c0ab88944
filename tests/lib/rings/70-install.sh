# phpize, configure, make and make install as users run them, and the README's first example

ring_needs() {
    has phpize || want php-dev
    has make || want make
}

ring_run() {
    local file
    # The first half of this script has built the extension for all rings.
    tap tests/install/phpize.sh 900 tests/install/phpize.sh installs
    for file in tests/install/*.test.php; do tap "$file" 120 "$PHP" "$file"; done
}
