# Random and damaged input from peers and brokers (libFuzzer), a few seconds for each target

ring_uses_extension=no
ring_needs() {
    want_cargo
    has g++ || want g++
}

ring_run() {
    step "fuzz deflate" 1200 fuzz/run deflate 10
    step "fuzz frames" 600 fuzz/run frames 8
    step "fuzz extensions" 600 fuzz/run extensions 5
    step "fuzz proxy" 600 fuzz/run proxy 5
    for target in forwarded publish hub gossip redis subjects envelope; do
        step "fuzz $target" 600 fuzz/run "$target" 3
    done
}
