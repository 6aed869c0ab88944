# Collects the results of the rings, one line per test, and adds them up. Sourced by bin/test.
#
# A line of $results is KIND<TAB>RING<TAB>NAME<TAB>REASON. KIND is ok, fail, skip, or second for a test
# that passed only at its second attempt, which counts as failed. A file, unlike a variable, also keeps
# the results of subshells and killed rings.

work=$root/target/test
results=$work/results
ring=setup

report_begin() {
    mkdir -p "$work"
    : >"$results"
}

say() { printf '\n== %s\n' "$*"; }
note() { printf '   %s\n' "$*"; }

# record KIND NAME [WHY]
record() {
    local kind=$1 name=${2//[$'\t\n']/ } why=${3:-}
    printf '%s\t%s\t%s\t%s\n' "$kind" "$ring" "$name" "${why//[$'\t\n']/ }" >>"$results"
}
ok() { record ok "$1"; printf 'ok - %s\n' "$1"; }
fail() { record fail "$@"; printf 'not ok - %s%s\n' "$1" "${2:+ - $2}"; }
skip() { record skip "$@"; printf 'skip - %s - %s\n' "$1" "$2"; }

# count KIND [RING]
count() { awk -F '\t' -v kind="$1" -v ring="${2:-}" '$1 == kind && (ring == "" || $2 == ring)' "$results" | wc -l; }

count_failed() { echo $(($(count fail "${1:-}") + $(count second "${1:-}"))); } # [RING]
count_any() { awk -F '\t' -v ring="$1" '$2 == ring { print; exit }' "$results"; } # RING

# Lists failed and skipped tests, prints the closing line, and returns 1 if any test failed.
report_end() {
    local passed failed skipped second
    passed=$(count ok) failed=$(count_failed) skipped=$(count skip) second=$(count second)
    if [ "$skipped" -gt 0 ]; then
        say "SKIPPED"
        awk -F '\t' '$1 == "skip" { printf "   %s: %s (%s)\n", $2, $3, $4 }' "$results"
    fi
    if [ "$second" -gt 0 ]; then
        say "FAILED, AND PASSED AT THE SECOND ATTEMPT"
        awk -F '\t' '$1 == "second" { printf "   %s: %s (at first: %s)\n", $2, $3, $4 }' "$results"
    fi
    if [ "$failed" -gt 0 ]; then
        say "FAILED"
        awk -F '\t' '$1 == "fail" { printf "   %s: %s%s\n", $2, $3, $4 == "" ? "" : " (" $4 ")" }' "$results"
        note "logs: $work"
    fi
    printf '\n%s passed, %s failed' "$passed" "$failed"
    [ "$skipped" -eq 0 ] || printf ', %s skipped' "$skipped"
    [ "$second" -eq 0 ] || printf ', %s of the failed passed at the second attempt' "$second"
    printf '\n'
    [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}
