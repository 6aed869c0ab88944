# The Autobahn test suite for RFC 6455, against a PHP echo server

ring_needs() {
    has python3 || want python3
    [ -n "${AUTOBAHN_PYTHON:-}" ] || python3 -m pip --version >/dev/null 2>&1 || want python3-pip
}

ring_run() {
    tap "autobahn" 900 tests/conformance/run.sh
    tap "autobahn compression" 600 tests/conformance/run.sh compression
}
