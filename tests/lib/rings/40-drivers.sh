# PHP scripts that drive it from outside: raw sockets, loops, signals, valgrind, Ratchet applications

ring_needs() {
    has valgrind || want valgrind
    has openssl || want openssl
    [ -x /usr/sbin/nginx ] || want nginx-light
    [ -x /usr/sbin/haproxy ] || want haproxy
    # What Ratchet's interfaces are made of; the drop-in's tests load it.
    [ -f /usr/share/php/GuzzleHttp/Psr7/autoload.php ] || want php-guzzlehttp-psr7
    [ -f /usr/share/php/Symfony/Component/Routing/autoload.php ] || want php-symfony-routing
    [ -f /usr/share/php/Symfony/Component/HttpFoundation/autoload.php ] || want php-symfony-http-foundation
}

ring_run() {
    local file
    for file in tests/php/*.test.php tests/ratchet/*.test.php; do
        [ ! -f "$file" ] || tap "$file" 300 "$PHP" "$file"
    done
}
