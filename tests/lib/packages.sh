# Determines which programs are missing, and installs them from Debian. Sourced by bin/demo and
# bin/test. Programs from any other source count as installed, so that users without root rights can
# provide them.

packages_wanted=()

want() {
    local package
    for package; do
        case " ${packages_wanted[*]} " in *" $package "*) ;; *) packages_wanted+=("$package") ;; esac
    done
}
has() { command -v "$1" >/dev/null 2>&1; }

# Packages that cargo needs to fetch and compile crates.
want_cargo() {
    has cc || has gcc || has clang || want gcc libc6-dev
    # Debian's Rust packages do not include a linker.
    has ld || want binutils
    # cargo checks the certificate of the registry against this file.
    ! has apt-get || [ -n "${SSL_CERT_FILE:-}" ] || [ -s /etc/ssl/certs/ca-certificates.crt ] || want ca-certificates
}

# Packages that bin/build needs. It asks for the Rust toolchain itself.
want_build() {
    want_cargo
    has php || want php-cli
    { has php-config && [ -f "$(php-config --include-dir)/main/php.h" ]; } || want php-dev
    case $(bin/build --check 2>&1 || true) in *"libclang not found"*) want libclang-dev ;; esac
}

# The php that belongs to php-config, for which the extension is built.
find_php() {
    local php=${PHP:-}
    [ -n "$php" ] || php=$("${PHP_CONFIG:-php-config}" --php-binary 2>/dev/null) || php=
    [ -x "$php" ] || php=php
    command -v "$php"
}

# Installs the wanted packages, or prints them and returns 1.
install_wanted() {
    [ ${#packages_wanted[@]} -gt 0 ] || return 0
    local as_root=() list="${packages_wanted[*]}"
    packages_wanted=()
    if ! has apt-get; then
        echo "Missing: please install the equivalents of these Debian packages: $list" >&2
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
    # The machine may be running an update, so wait for the lock.
    local options=(-q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 -o APT::Install-Recommends=false)
    # shellcheck disable=SC2086
    if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get "${options[@]}" install $list; then
        echo "Trying again with fresh package lists"
        "${as_root[@]}" apt-get -q -o DPkg::Lock::Timeout=300 update || return 1
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get "${options[@]}" install $list || return 1
    fi
}
