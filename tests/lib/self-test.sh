#!/usr/bin/env bash
# Tests how bin/test counts: a test that passes only at the second attempt is a failure, and is named.
set -euo pipefail

lib=$(cd "$(dirname "$0")" && pwd)
root=$(mktemp -d)
trap 'stop_children; rm -rf "$root"' EXIT
. "$lib/report.sh"
. "$lib/run.sh"

# program NAME: a test program. Its first run sources NAME.first, and each later run NAME.second.
cat >"$root/program" <<'SH'
if [ -e "$1.ran" ]; then . "$1.second"; else touch "$1.ran"; . "$1.first"; fi
SH
expect() { # WHAT EXPECTED ACTUAL
    [ "$2" = "$3" ] || { echo "$1: expected '$2', got '$3'" >&2; exit 1; }
}
run() { # NAME
    ring=$1
    report_begin
    tap "$1" 20 sh "$root/program" "$root/$1" >/dev/null
    status=0
    line=$(report_end | tail -n 1) || status=1
}

echo 'echo "ok - a"; echo "ok - b"' >"$root/good.first"
run good
expect 'a good program' '0: 2 passed, 0 failed' "$status: $line"

echo 'echo "ok - a"; echo "not ok - b - why"; exit 1' | tee "$root/bad.first" >"$root/bad.second"
run bad
expect 'a bad program' '1: 1 passed, 1 failed' "$status: $line"

echo 'echo "ok - a"; echo "not ok - b - why - indeed"; exit 1' >"$root/lucky.first"
echo 'echo "ok - a"; echo "ok - b"; echo "skip - c - reason"' >"$root/lucky.second"
run lucky
expect 'a program that passes at its second attempt' \
    '1: 1 passed, 1 failed, 1 skipped, 1 of the failed passed at the second attempt' "$status: $line"
expect 'the test named' 'lucky: b' "$(awk -F '\t' '$1 == "second" { print $3 }' "$results")"

echo 'exit 3' >"$root/crash.first"
echo 'echo "ok - a"' >"$root/crash.second"
run crash
expect 'a program that crashes at first' '1: 1 passed, 1 failed, 1 of the failed passed at the second attempt' "$status: $line"

TEST_ATTEMPTS=1
rm "$root"/*.ran
run lucky
expect 'a single attempt' '1: 1 passed, 1 failed' "$status: $line"
