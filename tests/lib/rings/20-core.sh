# The core crate without PHP: cargo test

ring_uses_extension=no
ring_needs() {
    want_cargo
    has openssl || want openssl
    # Each test starts its own servers, and leaves Debian's services alone.
    has redis-server || want redis-server
    PATH=$PATH:/usr/sbin has nats-server || want nats-server
}

ring_run() {
    local log=$work/log/$ring/cargo-test.log skipped=$work/log/$ring/skipped status=0 line name
    local -A at_first=()
    # cargo counts a test that lacks a program as passed; such a test writes a line to this file.
    mkdir -p "${skipped%/*}"
    : >"$skipped"
    SPROCKET_SKIPPED=$skipped bounded 1200 "$log" cargo test --locked --no-fail-fast || status=$?
    # Like `tap`, runs a second time if tests failed, but not if the build failed.
    if [ "$status" -ne 0 ] && [ "${TEST_ATTEMPTS:-2}" -gt 1 ] && grep -q '^test .* \.\.\. FAILED' "$log"; then
        while IFS= read -r name; do at_first[$name]=yes; done < <(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$log")
        note "SECOND ATTEMPT: these failed: ${!at_first[*]}"
        cp "$log" "$log.first"
        status=0
        SPROCKET_SKIPPED=$skipped bounded 1200 "$log" cargo test --locked --no-fail-fast || status=$?
    fi
    while IFS= read -r line; do
        name=${line#test }
        name=${name% ... *}
        case $line in
            *' ... ok')
                if grep -q "^$name " "$skipped"; then
                    record skip "$name" "$(grep -m 1 "^$name " "$skipped" | cut -d ' ' -f 2-)"
                elif [ -n "${at_first[$name]:-}" ]; then
                    record second "$name" "see $log.first"
                else
                    record ok "$name"
                fi
                ;;
            *' ... FAILED') record fail "$name" ;;
            *' ... ignored'*) record skip "$name" "marked as ignored${line##* ... ignored}" ;;
        esac
    done < <(grep '^test .* \.\.\. ' "$log")
    case $status in
        0) ;;
        124 | 137) fail "cargo test" "timed out" ;;
        *) [ "$(count fail "$ring")" -gt 0 ] || fail "cargo test" "exit status $status" ;;
    esac
}

ring_quick() { ring_run; }
