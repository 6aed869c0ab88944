#!/usr/bin/env bash
# Installs Sprocket the way PHP users do, from a clean copy into a scratch root, in and out of tree.
# Prints `ok - NAME` / `not ok - NAME - REASON`.
#
#   phpize.sh             everything
#   phpize.sh build       up to make; modules/sprocket.so is then in target/test/install/build
#   phpize.sh installs    everything after the build
set -euo pipefail

root=$(readlink -f "$(dirname "$0")/../..")
scratch=$root/target/test/install
src=$scratch/src build=$scratch/build dest=$scratch/root
php_config=$(command -v "${PHP_CONFIG:-php-config}")
php=${PHP:-$("$php_config" --php-binary)}
# A constant path and the shared cache let cargo rebuild only what has changed.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}
# Variables of a surrounding make must not reach the makes in this script.
unset MAKEFLAGS MFLAGS MAKELEVEL

phase=${1:-all}
failures=0
ok() { echo "ok - $1"; }
fail() { echo "not ok - $1 - ${2:-}"; failures=$((failures + 1)); }
# check NAME COMMAND…: passes if the command succeeds; shows its output otherwise.
check() {
    local name=$1
    shift
    if "$@" >"$scratch/out.log" 2>&1; then ok "$name"; else tail -n 25 "$scratch/out.log" | sed 's/^/# /'; fail "$name" "$*"; fi
}
# needed NAME COMMAND…: like check, but a failure ends the script.
needed() {
    local before=$failures
    check "$@"
    [ "$failures" -eq "$before" ] || exit 1
}
# refuses NAME SENTENCE COMMAND…: passes if the command fails with this sentence in its output.
refuses() {
    local name=$1 sentence=$2
    shift 2
    if "$@" >"$scratch/out.log" 2>&1; then
        fail "$name" "it succeeded"
    elif grep -qF "$sentence" "$scratch/out.log"; then
        ok "$name"
    else
        tail -n 5 "$scratch/out.log" | sed 's/^/# /'
        fail "$name" "the output lacks: $sentence"
    fi
}
# said NAME REGEX, unsaid NAME REGEX: passes if the last command's output matches, or does not match.
said() { if grep -q -- "$2" "$scratch/out.log"; then ok "$1"; else fail "$1" "nothing like: $2"; fi; }
unsaid() { if grep -q -- "$2" "$scratch/out.log"; then fail "$1" "$(grep -m 1 -- "$2" "$scratch/out.log")"; else ok "$1"; fi; }
outdated() { ! make -C "$build" -q "$build/modules/sprocket.la"; }
in_dir() { (cd "$1" && shift && "$@"); }

# --- A clean copy ---------------------------------------------------------------------------
files() {
    if git -C "$root" rev-parse --git-dir >/dev/null 2>&1; then
        git -C "$root" ls-files -z --cached --others --exclude-standard
    else
        (cd "$root" && find . \( -name target -o -name node_modules -o -name .git -o -name modules \) -prune -o -type f -print0)
    fi
}
copy() {
    rm -rf "$scratch"
    mkdir -p "$src" "$build"
    files | while IFS= read -r -d '' file; do
        [ -f "$root/$file" ] && printf '%s\0' "$file"
    done | tar -C "$root" --null -T - -cf - | tar -C "$src" -xf -
}

# --- phpize, configure, make, out of tree -----------------------------------------------------
# Reports progress, because the build takes minutes.
make_aloud() {
    make -C "$build" -j2 2>&1 | while IFS= read -r line; do
        echo "$line"
        case $line in *'still compiling'*) echo "# $line" >&3 ;; esac
    done
}
if [ "$phase" != installs ]; then
    copy
    needed "phpize succeeds" in_dir "$src" phpize
    needed "configure succeeds out of tree" in_dir "$build" "$src/configure" --with-php-config="$php_config"
    echo "# building; this takes a minute or two"
    needed "make -j2 succeeds" make_aloud 3>&1
    needed "make leaves modules/sprocket.so and its .la" test -s "$build/modules/sprocket.so" -a -s "$build/modules/sprocket.la"
    if [ "$phase" = build ]; then exit 0; fi
fi
needed "a build to install exists" test -s "$build/modules/sprocket.so"

stamp=$(stat -c %y "$build/modules/sprocket.so")
check "a second make succeeds" make -C "$build"
unsaid "a second make builds nothing" "Building Sprocket"
check "a second make leaves the module unchanged" test "$(stat -c %y "$build/modules/sprocket.so")" = "$stamp"
check "make is up to date" make -C "$build" -q "$build/modules/sprocket.la"
touch "$src/src/lib.rs"
check "a changed source makes the build outdated" outdated
touch -r "$root/src/lib.rs" "$src/src/lib.rs"

check "make test succeeds" env TEST_PHP_ARGS=-j4 make -C "$build" test
said "make test ran the phpt suite" 'Tests passed *: *[1-9]'
unsaid "make test asks no questions" 'send this report'

# "sudo make install" after "make" must not run the user's cargo as root.
check "make install succeeds" make -C "$build" install INSTALL_ROOT="$dest" SPROCKET_CARGO=/bin/false
unsaid "make install does not build" "Building Sprocket"
installed=$dest$("$php_config" --extension-dir)
check "INSTALL_ROOT contains only the extension" \
    test "$(find "$dest" -type f)" = "$installed/sprocket.so"
needed "php --ri sprocket succeeds" "$php" -n -d "extension_dir=$installed" -d extension=sprocket --ri sprocket
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$root/Cargo.toml")
said "php --ri names the version $version" "$version"
said "php --ri names the linked libraries" '[Tt]okio'
check "the installed extension has its classes" "$php" -n -d "extension_dir=$installed" -d extension=sprocket \
    -r 'exit(class_exists("Sprocket\Server") ? 0 : 1);'

# --- make clean keeps cargo's cache ---------------------------------------------------------------
clean_keeps_cache() { # DIR
    local file
    mkdir -p "$1/target/release/deps"
    for file in a.o b.a c.so d.la; do echo cache >"$1/target/release/deps/$file"; done
    make -C "$1" clean || return 1
    for file in a.o b.a c.so d.la; do [ -f "$1/target/release/deps/$file" ] || { echo "$file is gone"; return 1; }; done
    [ ! -e "$1/modules/sprocket.so" ] || { echo "modules/sprocket.so is still there"; return 1; }
}
check "make clean keeps the cache, out of tree" clean_keeps_cache "$build"
needed "configure succeeds in tree" in_dir "$src" ./configure
check "make succeeds in tree" make -C "$src" -j2
check "make in tree leaves modules/sprocket.so" test -s "$src/modules/sprocket.so"
check "make clean keeps the cache, in tree" clean_keeps_cache "$src"
check "make clean keeps the sources" test -f "$src/src/lib.rs" -a -f "$src/config.m4"

# --- Missing requirements are named in a sentence --------------------------------------------------
try=$scratch/try
mkdir -p "$try/empty"
fake() { # FILE LINE…: writes a shell script
    local file=$1
    shift
    printf '#!/bin/sh\n' >"$file"
    printf '%s\n' "$@" >>"$file"
    chmod +x "$file"
}
fake "$try/cargo" 'echo "cargo 1.70.0 (somewhat old)"'
fake "$try/php-config" 'case $1 in' "--include-dir) echo $try/empty ;;" "*) exec $php_config \"\$@\" ;;" 'esac'
configure() { in_dir "$try" env "$@" "$src/configure" --with-php-config="$php_config"; }

refuses "configure reports a missing cargo" "cargo not found. Sprocket is written in Rust: install a toolchain" configure CARGO=/nonexistent/cargo
refuses "configure reports an outdated cargo" "is version 1.70.0, which is too old" configure CARGO="$try/cargo"
refuses "configure reports a missing libclang" "libclang not found in LIBCLANG_PATH=$try/empty" configure LIBCLANG_PATH="$try/empty"
refuses "configure reports missing PHP headers" "PHP headers not found" in_dir "$try" "$src/configure" --with-php-config="$try/php-config"
refuses "configure resolves a relative path to php-config" "PHP headers not found" in_dir "$try" "$src/configure" --with-php-config=./php-config
check "configure accepts a complete setup" configure CARGO="$(command -v cargo)"
check "the debug build is an option" in_dir "$try" "$src/configure" --enable-sprocket-debug
check "the debug build reaches make" grep -q '^SPROCKET_BUILD_FLAGS = --debug' "$try/Makefile"

# --- composer.json agrees with configure ---------------------------------------------------------------
cat >"$try/composer.php" <<'PHP'
<?php
[, $composer, $help] = $argv;
$json = json_decode(file_get_contents($composer), true, 16, JSON_THROW_ON_ERROR);
$help = file_get_contents($help);
$wrong = [];
$json['type'] === 'php-ext' || $wrong[] = 'type';
$json['php-ext']['extension-name'] === 'sprocket' || $wrong[] = 'extension-name';
foreach ($json['php-ext']['configure-options'] as $option) {
    str_contains($help, "--{$option['name']}") || $wrong[] = "configure knows no --{$option['name']}";
}
foreach ($wrong as $line) {
    echo "$line\n";
}
exit($wrong === [] ? 0 : 1);
PHP
"$src/configure" --help >"$try/help.txt"
check "composer.json agrees with configure" "$php" -n "$try/composer.php" "$src/composer.json" "$try/help.txt"

[ "$failures" -eq 0 ]
