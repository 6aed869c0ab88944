# Each fuzz target for a longer time: FULL_FUZZ_SECONDS, 120 by default

ring_uses_extension=no
ring_needs() {
    want_cargo
    has g++ || want g++
}

ring_run() {
    local file target seconds=${FULL_FUZZ_SECONDS:-120}
    for file in fuzz/fuzz_targets/*.rs; do
        target=$(basename "$file" .rs)
        step "fuzz $target for $seconds s" $((seconds + 1200)) fuzz/run "$target" "$seconds"
    done
}
