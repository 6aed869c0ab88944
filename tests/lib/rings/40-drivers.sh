# PHP scripts that drive the server from outside: raw sockets, loops, signals, workers, two machines, valgrind, Ratchet applications

# Libraries behind Ratchet's interfaces, which the tests of the drop-in load.
ring_quick_needs() {
    [ -f /usr/share/php/GuzzleHttp/Psr7/autoload.php ] || want php-guzzlehttp-psr7
    [ -f /usr/share/php/Symfony/Component/Routing/autoload.php ] || want php-symfony-routing
    [ -f /usr/share/php/Symfony/Component/HttpFoundation/autoload.php ] || want php-symfony-http-foundation
}

ring_needs() {
    ring_quick_needs
    has valgrind || want valgrind
    has openssl || want openssl
    has composer || want composer
    has redis-server || want redis-server
    PATH=$PATH:/usr/sbin has nats-server || want nats-server
    [ -x /usr/sbin/nginx ] || want nginx-light
    [ -x /usr/sbin/haproxy ] || want haproxy
    PATH=$PATH:/usr/sbin:/sbin has ip || want iproute2
    has caddy || want caddy
    has tclsh && [ -n "$(echo "puts [package require websocket]" | tclsh 2>/dev/null)" ] || want tcl tcllib
    has systemd-socket-activate || want systemd
    # php-fpm must match PHP's version. Debian has none for a version that it does not package.
    local version
    version=$(php -n -r 'echo PHP_MAJOR_VERSION, ".", PHP_MINOR_VERSION;' 2>/dev/null) || version=
    if [ -z "$version" ]; then
        want php-fpm
    elif ! PATH=$PATH:/usr/sbin has "php-fpm$version" && apt-cache show "php$version-fpm" >/dev/null 2>&1; then
        want "php$version-fpm"
    fi
}

driver() { tap "$1" 300 "$PHP" "$1"; }

# The tests of the drop-in use a stand-in if Debian has no package of ReactPHP.
ring_quick() { side_by_side 2 driver tests/ratchet/*.test.php; }

# Drivers spend most of their time waiting, so three run at a time. The longest ones start first, so that
# none of them is left at the end.
ring_run() {
    local file first=() others=()
    # Two drivers use it to connect thousands of clients that count their messages.
    step "load generator" 300 cargo build --release --locked --quiet --manifest-path bench/Cargo.toml -p wsload
    for file in tests/php/*.test.php tests/ratchet/*.test.php; do
        [ -f "$file" ] || continue
        case $(basename "$file" .test.php) in
            timeouts | limits | loop | loops | examples | publisher | valgrind | workers | cluster) first+=("$file") ;;
            *) others+=("$file") ;;
        esac
    done
    side_by_side 3 driver "${first[@]}" "${others[@]}"
}
