# Static analysis of the Ratchet package by mago, with tests/ratchet/mago.toml

ring_uses_extension=no
ring_needs() {
    want_cargo
    [ -f /usr/share/php/GuzzleHttp/Psr7/autoload.php ] || want php-guzzlehttp-psr7
    [ -f /usr/share/php/Symfony/Component/Routing/autoload.php ] || want php-symfony-routing
    [ -f /usr/share/php/Symfony/Component/HttpFoundation/autoload.php ] || want php-symfony-http-foundation
}

# mago comes from Rust's registry. It is compiled once, and kept with the build.
install_mago() {
    PATH=$PATH:$root/target/tools/bin
    if has mago; then return; fi
    note "installing mago (once, takes up to half an hour)"
    CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        CARGO_TARGET_DIR=$root/target/tools/build bounded 3000 "$work/log/$ring/mago-install.log" \
        cargo install --locked --version 1.29.0 --root "$root/target/tools" mago && rm -rf "$root/target/tools/build"
}

ring_run() {
    local library
    if ! library=$(bash tests/php/lib/php-library.sh react); then
        skip "mago" "needs ReactPHP, which could not be fetched"
        return
    fi
    if ! install_mago; then
        skip "mago" "could not be installed, see mago-install.log"
        return
    fi
    mkdir -p target/tools
    ln -sfn "$(dirname "$library")" target/tools/react
    step "mago" 300 mago --workspace "$root" --config tests/ratchet/mago.toml analyze --minimum-report-level error
}
