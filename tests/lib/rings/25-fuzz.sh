# Random and damaged input for what strangers send (libFuzzer), for some seconds each

ring_uses_extension=no
ring_needs() { has g++ || want g++; }

ring_run() {
    step "fuzz deflate" 1200 fuzz/run deflate 20
    step "fuzz extensions" 600 fuzz/run extensions 10
}
