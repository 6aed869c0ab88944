#!/usr/bin/env bash
# php-library.sh revolt|react: fetches a PHP library as a Debian package into a private folder
# (without installing it) and prints the path of its autoloader. Returns quickly if it is already there.
#
#   revolt    the Revolt event loop, from sid
#   react     ReactPHP, from this Debian release, which ships it among the libraries of Icinga
#
#   SPROCKET_LIBRARIES    the private folder (default: ${XDG_CACHE_HOME:-~/.cache}/sprocket)
set -euo pipefail

release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
case ${1:-} in
    revolt) package=php-revolt-event-loop suite=sid file=Revolt/EventLoop/autoload.php ;;
    react) package=icinga-php-thirdparty suite=$release file=vendor/vendor/autoload.php ;;
    *) echo "usage: php-library.sh revolt|react" >&2; exit 2 ;;
esac
home=${SPROCKET_LIBRARIES:-${XDG_CACHE_HOME:-$HOME/.cache}/sprocket}/$1

say() { echo "$package: $*" >&2; }
die() { say "$*"; exit 1; }
autoloader() { find "$home/root/usr/share" -path "*/$file" 2>/dev/null | head -n 1; }

if [ -n "$(autoloader)" ]; then autoloader; exit; fi

mkdir -p "$(dirname "$home")"
exec 9>"$home.lock"
flock 9
if [ -n "$(autoloader)" ]; then autoloader; exit; fi # another process was faster

# Prints an apt sources line for $suite, derived from this machine's entry for its own release.
sources() {
    local f
    for f in /etc/apt/sources.list.d/*.sources; do
        [ -f "$f" ] || continue
        awk -v RS= -v name="$release" '
            $0 ~ "(^|\n)Suites:([^\n]*[ \t])?" name "([ \t\n]|$)" {
                n = split($0, line, "\n")
                for (i = 1; i <= n; i++) {
                    if (line[i] ~ /^URIs:/) { split(line[i], w, /[ \t]+/); uri = w[2] }
                    if (line[i] ~ /^Signed-By:/) { split(line[i], w, /[ \t]+/); key = w[2] }
                }
                print uri, key
            }' "$f" | while read -r uri key; do
                echo "deb ${key:+[signed-by=$key] }$uri $suite main"
            done
    done
    if [ -f /etc/apt/sources.list ]; then
        sed -nE "s/^(deb +(\[[^]]*\] +)?[^ ]+) +$release +.*\bmain\b.*/\1 $suite main/p" /etc/apt/sources.list
    fi
}

new=$home.new
rm -rf "$new"
apt=$new/apt
mkdir -p "$apt/lists/partial" "$apt/archives/partial"
touch "$apt/status"
sources | head -n 1 >"$apt/sources.list"
[ -s "$apt/sources.list" ] || die "no apt source for this Debian release"
opts=(-q=2 -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o Dir::Etc::preferencesparts=/dev/null -o "Dir::Cache=$apt"
    -o "Dir::State=$apt" -o "Dir::State::lists=$apt/lists" -o "Dir::State::status=$apt/status"
    -o APT::Sandbox::User= -o Acquire::Languages=none
    -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false)
say "downloading from $suite"
apt-get "${opts[@]}" update >&2
(cd "$apt" && apt-get "${opts[@]}" download "$package" >&2)
for deb in "$apt"/*.deb; do dpkg -x "$deb" "$new/root"; done
rm -rf "$apt"
rm -rf "$home"
mv "$new" "$home"
[ -n "$(autoloader)" ] || die "$package has no autoloader"
autoloader
