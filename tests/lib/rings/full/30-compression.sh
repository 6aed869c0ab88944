# All 216 compression cases of Autobahn, with shared codecs and with windows kept per connection

ring_needs() {
    has python3 || want python3
    [ -n "${AUTOBAHN_PYTHON:-}" ] || python3 -m pip --version >/dev/null 2>&1 || want python3-pip
}

ring_run() {
    tap "autobahn compression --all" 3600 tests/conformance/run.sh compression --all
    tap "autobahn takeover --all" 3600 tests/conformance/run.sh takeover --all
}
