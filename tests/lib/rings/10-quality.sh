# Formatting, lints, order of imports, lengths of files, documentation, licences of the dependencies, PHP syntax

ring_uses_extension=no
ring_needs() { want_build; } # clippy reads the binding, which needs the headers

# cargo-deny comes from Rust's registry. It is compiled once, and kept with the build.
cargo_deny() {
    if has cargo-deny; then return; fi
    PATH=$PATH:$root/target/tools/bin
    if has cargo-deny; then return; fi
    note "installing cargo-deny (once, takes some minutes)"
    CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR=$root/target/tools/build \
        bounded 900 "$work/log/$ring/cargo-deny-install.log" \
        cargo install --locked --debug --root "$root/target/tools" cargo-deny && rm -rf "$root/target/tools/build"
}

php_syntax() {
    local file bad=0
    while IFS= read -r file; do
        # run-tests.php, which may run meanwhile, writes each phpt's script beside it and removes it again.
        [ ! -f "${file%.php}.phpt" ] || continue
        "$PHP" -n -l "$file" || bad=1
    done < <(find . \( -name target -o -name node_modules -o -name vendor -o -name .git \) -prune -o \
        -name '*.php' -type f -print)
    return "$bad"
}

shell_syntax() {
    local file
    for file in bin/test bin/demo .ci/run tests/lib/*.sh tests/lib/rings/*.sh tests/lib/rings/full/*.sh tests/install/*.sh tests/conformance/*.sh; do
        bash -n "$file" || return 1
    done
    sh -n bin/build
}

# Compares the table of fuzz targets in CONTRIBUTING.md with the existing files.
fuzz_table() {
    diff <(sed -n '/^| target | what |$/,/^$/p' CONTRIBUTING.md | cut -d '|' -f 2 | grep -o '`[^`]*`' | tr -d '`' | sort) \
        <(basename -s .rs -a fuzz/fuzz_targets/*.rs | sort)
}

# Lists source files that have grown beyond what one can survey.
file_lengths() {
    ! find crates/*/src src php -name '*.rs' -o -name '*.php' |
        xargs wc -l | awk '$2 != "total" && $1 > 524 { print $2 ": " $1 " lines, at most 524 are allowed" }' | grep .
}

format() {
    if cargo fmt --version >/dev/null 2>&1; then
        step "rustfmt" 120 cargo fmt --all --check
        [ ! -f bench/Cargo.toml ] || step "rustfmt of bench" 120 cargo fmt --manifest-path bench/Cargo.toml --all --check
    else
        skip "rustfmt" "not part of this Rust toolchain"
    fi
}

lints() {
    if cargo clippy --version >/dev/null 2>&1; then
        step "clippy" 900 cargo clippy --locked --workspace --all-targets -- -D warnings
        [ "$mode" = quick ] || [ ! -f bench/Cargo.toml ] || step "clippy of bench" 900 \
            cargo clippy --locked --manifest-path bench/Cargo.toml --workspace --all-targets -- -D warnings
    else
        skip "clippy" "not part of this Rust toolchain"
    fi
}

imports() {
    step "the check of imports finds loops and upward imports" 60 "$PHP" -n tests/lib/imports/self-test.php
    step "imports run downward, without loops" 60 "$PHP" -n tests/lib/imports/check.php
}

syntax() {
    step "bin/test counts passed and failed tests correctly" 60 bash tests/lib/self-test.sh
    export -f php_syntax shell_syntax fuzz_table file_lengths
    step "PHP syntax" 120 bash -c php_syntax
    step "shell syntax" 60 bash -c shell_syntax
    step "the table of fuzz targets" 60 bash -c fuzz_table
    step "lengths of source files" 60 bash -c file_lengths
}

ring_quick() {
    format
    lints
    imports
    syntax
}

ring_run() {
    local advisories
    format
    lints
    RUSTDOCFLAGS="-D warnings" step "rustdoc" 900 cargo doc --locked --workspace --no-deps

    if cargo_deny; then
        step "dependencies have allowed licences and sources" 300 cargo deny check --hide-inclusion-graph licenses sources bans
        # The vulnerability database is a git repository, which not every machine can reach.
        advisories=$work/log/$ring/advisories.log
        if bounded 300 "$advisories" cargo deny check --hide-inclusion-graph advisories; then
            ok "advisories"
        elif grep -q 'failed to fetch advisory database' "$advisories"; then
            skip "advisories" "the advisory database can't be reached from here"
        else
            fail "advisories" "a dependency has a known vulnerability"
        fi
    else
        fail "cargo-deny" "could not be installed"
    fi

    imports
    syntax
}
