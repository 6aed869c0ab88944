#!/usr/bin/env bash
# Fetches Debian sid's php-revolt-event-loop into a private folder (nothing is installed) and
# prints the path of its autoloader. Quick when it is already there.
#
#   REVOLT_HOME    where it goes (default: ${XDG_CACHE_HOME:-~/.cache}/sprocket-revolt)
set -euo pipefail

home=${REVOLT_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/sprocket-revolt}
package=php-revolt-event-loop
suite=sid

say() { echo "revolt: $*" >&2; }
die() { say "$*"; exit 1; }
autoloader() { find "$home/root/usr/share/php" -path '*evolt*' -name autoload.php 2>/dev/null | head -n 1; }

if [ -n "$(autoloader)" ]; then autoloader; exit; fi

mkdir -p "$(dirname "$home")"
exec 9>"$home.lock"
flock 9
if [ -n "$(autoloader)" ]; then autoloader; exit; fi # another process was faster

# One sources line for sid, from the entry this machine uses for its own release.
sources() {
    local codename f
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    for f in /etc/apt/sources.list.d/*.sources; do
        [ -f "$f" ] || continue
        awk -v RS= -v name="$codename" '
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
        sed -nE "s/^(deb +(\[[^]]*\] +)?[^ ]+) +$codename +.*\bmain\b.*/\1 $suite main/p" /etc/apt/sources.list
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
say "downloading $package ($suite)"
apt-get "${opts[@]}" update >&2
(cd "$apt" && apt-get "${opts[@]}" download "$package" >&2)
for deb in "$apt"/*.deb; do dpkg -x "$deb" "$new/root"; done
rm -rf "$apt"
rm -rf "$home"
mv "$new" "$home"
[ -n "$(autoloader)" ] || die "$package has no autoloader"
autoloader
