# Finds out what is missing on this machine and installs it from Debian. Sourced by bin/demo
# and bin/test. What is there already, from Debian or not, is left alone, so that a user who
# isn't root needs nothing more.

packages_wanted=()

want() {
    local package
    for package; do
        case " ${packages_wanted[*]} " in *" $package "*) ;; *) packages_wanted+=("$package") ;; esac
    done
}
has() { command -v "$1" >/dev/null 2>&1; }

# What bin/build needs from Debian. The Rust toolchain isn't: bin/build asks for it.
want_build() {
    has php || want php-cli
    { has php-config && [ -f "$(php-config --include-dir)/main/php.h" ]; } || want php-dev
    has cc || has gcc || has clang || want gcc libc6-dev
    # Debian's Rust comes without a linker of its own.
    has ld || want binutils
    case $(bin/build --check 2>&1 || true) in *"libclang not found"*) want libclang-dev ;; esac
}

# The php that belongs to php-config, which is the one the extension is built for.
find_php() {
    local php=${PHP:-}
    [ -n "$php" ] || php=$("${PHP_CONFIG:-php-config}" --php-binary 2>/dev/null) || php=
    [ -x "$php" ] || php=php
    command -v "$php"
}

# Installs what was wanted, or says what to install and returns 1.
install_wanted() {
    [ ${#packages_wanted[@]} -gt 0 ] || return 0
    local as_root=() list="${packages_wanted[*]}"
    packages_wanted=()
    if ! has apt-get; then
        echo "Missing: please install what Debian calls $list" >&2
        return 1
    fi
    if [ "$(id -u)" -ne 0 ]; then
        if has sudo && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
            as_root=(sudo)
        else
            echo "Missing, and only root can install it: apt-get install $list" >&2
            return 1
        fi
    fi
    echo "Installing from Debian: $list"
    # The machine may be busy with an update of its own: wait for the lock.
    local options=(-q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 -o APT::Install-Recommends=false)
    # shellcheck disable=SC2086
    if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get "${options[@]}" install $list; then
        echo "Trying again with fresh package lists"
        "${as_root[@]}" apt-get -q -o DPkg::Lock::Timeout=300 update || return 1
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get "${options[@]}" install $list || return 1
    fi
}
