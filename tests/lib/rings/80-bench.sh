# Instructions per message, compared with committed figures

ring_uses_extension=no
ring_needs() {
    want_cargo
    has valgrind || want valgrind
}

ring_run() {
    tap "bench/check --build" 600 bench/check --build
    tap "bench/check" 600 bench/check
}
