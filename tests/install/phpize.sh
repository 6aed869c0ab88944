#!/usr/bin/env bash
# Installs Sprocket as PHP people do, from a clean copy into a scratch root, in and out of tree.
# Prints `ok - NAME` / `not ok - NAME - WHY`.
#
#   phpize.sh             everything
#   phpize.sh build       up to make; modules/sprocket.so is then in target/test/install/build
#   phpize.sh installs    the rest, after that
set -euo pipefail

root=$(readlink -f "$(dirname "$0")/../..")
scratch=$root/target/test/install
src=$scratch/src build=$scratch/build dest=$scratch/root
php_config=$(command -v "${PHP_CONFIG:-php-config}")
php=${PHP:-$("$php_config" --php-binary)}
# A path that stays the same and the common cache: only a change of the sources makes cargo work.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}
# What a make around this script tells its children is not for the makes in here.
unset MAKEFLAGS MFLAGS MAKELEVEL

phase=${1:-all}
failures=0
ok() { echo "ok - $1"; }
fail() { echo "not ok - $1 - ${2:-}"; failures=$((failures + 1)); }
# check NAME COMMAND…: the command succeeds. Its output is shown if it doesn't.
check() {
    local name=$1
    shift
    if "$@" >"$scratch/out.log" 2>&1; then ok "$name"; else tail -n 25 "$scratch/out.log" | sed 's/^/# /'; fail "$name" "$*"; fi
}
# needed NAME COMMAND…: the same, but without it the rest makes no sense.
needed() {
    local before=$failures
    check "$@"
    [ "$failures" -eq "$before" ] || exit 1
}
# refuses NAME SENTENCE COMMAND…: the command fails and says so in these words.
refuses() {
    local name=$1 sentence=$2
    shift 2
    if "$@" >"$scratch/out.log" 2>&1; then
        fail "$name" "it went on"
    elif grep -qF "$sentence" "$scratch/out.log"; then
        ok "$name"
    else
        tail -n 5 "$scratch/out.log" | sed 's/^/# /'
        fail "$name" "did not say: $sentence"
    fi
}
# said NAME REGEX, unsaid NAME REGEX: what the last command printed, or did not.
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
# Says that it goes on: the build takes minutes.
make_aloud() {
    make -C "$build" -j2 2>&1 | while IFS= read -r line; do
        echo "$line"
        case $line in *'still compiling'*) echo "# $line" >&3 ;; esac
    done
}
if [ "$phase" != installs ]; then
    copy
    needed "phpize" in_dir "$src" phpize
    needed "configure out of tree" in_dir "$build" "$src/configure" --with-php-config="$php_config"
    echo "# building; this takes a minute or two"
    needed "make -j2" make_aloud 3>&1
    needed "make leaves modules/sprocket.so and its .la" test -s "$build/modules/sprocket.so" -a -s "$build/modules/sprocket.la"
    if [ "$phase" = build ]; then exit 0; fi
fi
needed "there is a build to install" test -s "$build/modules/sprocket.so"

stamp=$(stat -c %y "$build/modules/sprocket.so")
check "make again ends well" make -C "$build"
unsaid "make again builds nothing" "Building Sprocket"
check "make again leaves the module alone" test "$(stat -c %y "$build/modules/sprocket.so")" = "$stamp"
check "make is up to date" make -C "$build" -q "$build/modules/sprocket.la"
touch "$src/src/lib.rs"
check "a changed source asks for a build" outdated
touch -r "$root/src/lib.rs" "$src/src/lib.rs"

check "make test" env TEST_PHP_ARGS=-j4 make -C "$build" test
said "make test ran the phpt suite" 'Tests passed *: *[1-9]'
unsaid "make test needs no answers" 'send this report'

# As root a user's cargo has no business: after make, installing must not need it.
check "make install" make -C "$build" install INSTALL_ROOT="$dest" SPROCKET_CARGO=/bin/false
unsaid "make install does not build" "Building Sprocket"
installed=$dest$("$php_config" --extension-dir)
check "the extension is below INSTALL_ROOT, and nothing else" \
    test "$(find "$dest" -type f)" = "$installed/sprocket.so"
needed "php --ri sprocket" "$php" -n -d "extension_dir=$installed" -d extension=sprocket --ri sprocket
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$root/Cargo.toml")
said "php --ri names the version $version" "$version"
said "php --ri names the linked libraries" '[Tt]okio'
check "the classes are there" "$php" -n -d "extension_dir=$installed" -d extension=sprocket \
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
needed "configure in tree" in_dir "$src" ./configure
check "make in tree" make -C "$src" -j2
check "make in tree leaves modules/sprocket.so" test -s "$src/modules/sprocket.so"
check "make clean keeps the cache, in tree" clean_keeps_cache "$src"
check "make clean keeps the sources" test -f "$src/src/lib.rs" -a -f "$src/config.m4"

# --- What is missing is said in a sentence ----------------------------------------------------------
try=$scratch/try
mkdir -p "$try/empty"
fake() { # FILE LINE…: a shell script
    local file=$1
    shift
    printf '#!/bin/sh\n' >"$file"
    printf '%s\n' "$@" >>"$file"
    chmod +x "$file"
}
fake "$try/cargo" 'echo "cargo 1.70.0 (somewhat old)"'
fake "$try/php-config" 'case $1 in' "--include-dir) echo $try/empty ;;" "*) exec $php_config \"\$@\" ;;" 'esac'
configure() { in_dir "$try" env "$@" "$src/configure" --with-php-config="$php_config"; }

refuses "no cargo" "cargo not found. Sprocket is written in Rust: install a toolchain" configure CARGO=/nonexistent/cargo
refuses "old cargo" "is version 1.70.0, which is too old" configure CARGO="$try/cargo"
refuses "no libclang" "libclang not found in LIBCLANG_PATH=$try/empty" configure LIBCLANG_PATH="$try/empty"
refuses "no PHP headers" "PHP headers not found" in_dir "$try" "$src/configure" --with-php-config="$try/php-config"
refuses "php-config of another name" "PHP headers not found" in_dir "$try" "$src/configure" --with-php-config=./php-config
check "configure says yes to what it finds" configure CARGO="$(command -v cargo)"
check "the debug build is an option" in_dir "$try" "$src/configure" --enable-sprocket-debug
check "the debug build reaches make" grep -q '^SPROCKET_BUILD_FLAGS = --debug' "$try/Makefile"

# --- composer.json says the same as configure ---------------------------------------------------------
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
check "composer.json fits" "$php" -n "$try/composer.php" "$src/composer.json" "$try/help.txt"

[ "$failures" -eq 0 ]
