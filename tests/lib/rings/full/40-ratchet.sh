# The Autobahn test suite against the Ratchet drop-in, natively and served by React

ring_needs() {
    has python3 || want python3
    [ -n "${AUTOBAHN_PYTHON:-}" ] || python3 -m pip --version >/dev/null 2>&1 || want python3-pip
    [ -f /usr/share/php/GuzzleHttp/Psr7/autoload.php ] || want php-guzzlehttp-psr7
}

# autobahn_ratchet NAME ARGUMENT…: runs tests/conformance/run.sh with these arguments.
autobahn_ratchet() {
    local name=$1
    shift
    ECHO_SERVER=$root/tests/ratchet/autobahn-echo.php AUTOBAHN_OUT=$work/autobahn-$name \
        tap "autobahn $name" 1800 tests/conformance/run.sh "$@"
}

ring_run() {
    autobahn_ratchet ratchet plain
    autobahn_ratchet ratchet-compression compression
    RATCHET_BY_REACT=1 autobahn_ratchet ratchet-react plain --differences tests/ratchet/autobahn-react.json
}
