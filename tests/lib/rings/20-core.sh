# The core crate without PHP: cargo test

ring_uses_extension=no
ring_needs() {
    has cc || has gcc || has clang || want gcc libc6-dev
    has openssl || want openssl
}

ring_run() {
    local log=$work/log/$ring/cargo-test.log status=0 line name failed
    bounded 1200 "$log" cargo test --locked --no-fail-fast || status=$?
    while IFS= read -r line; do
        name=${line#test }
        name=${name% ... *}
        case $line in
            *' ... ok') record ok "$name" ;;
            *' ... FAILED') record fail "$name" ;;
            *' ... ignored'*) record skip "$name" "marked as ignored${line##* ... ignored}" ;;
        esac
    done < <(grep '^test .* \.\.\. ' "$log")
    failed=$(count fail "$ring")
    case $status in
        0) ;;
        124 | 137) fail "cargo test" "not done in time" ;;
        *) [ "$failed" -gt 0 ] || fail "cargo test" "exit status $status" ;;
    esac
}
