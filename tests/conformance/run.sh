#!/usr/bin/env bash
# Runs the Autobahn suite against echo.php, and compares each case with the expected result.
# Prints a line for each case: `ok - CASE` or `not ok - CASE - difference`.
#
#   run.sh                        all cases except compression (12.* and 13.*), with expected.json
#   run.sh compression            cases .2 to .5 of each group of 12 and 13 (about a minute) against
#                                 `compression: true`, with expected-compression.json
#   run.sh takeover               the same cases against a server whose connections keep their windows
#
#   --all           all 216 cases of compression (15 minutes on an idle machine), group by group: the
#                   suite keeps all messages of a run in memory, 20 GB for all cases at once
#   --cases 'A,B'   these cases, such as '12.1.*,13.7.3'
#   --update        writes the results of these cases into the expectation
#   --differences FILE   results that differ for this server, with the reason, as JSON:
#                   {"CASE": {"expected": [BEHAVIOUR, CLOSE], "reason": TEXT}}
#
# Environment: SPROCKET_SO, the built extension; PHP; ECHO_SERVER, a script in place of echo.php, such
# as tests/ratchet/autobahn-echo.php; AUTOBAHN_OUT, the folder of the report (default: autobahn,
# autobahn-compression or autobahn-takeover in target/test).
set -euo pipefail

usage() { sed -n '5,19s/^# \{0,1\}//p' "$0" >&2; exit 2; }

short=12.*.2,12.*.3,12.*.4,12.*.5,13.*.2,13.*.3,13.*.4,13.*.5
set=plain mode='' cases='' differences='' all='' rest=()
while [ $# -gt 0 ]; do
    case $1 in
        plain | compression | takeover) set=$1 ;;
        --all) all=yes ;;
        --cases) cases=${2:?}; shift ;;
        --update) mode=--update rest+=(--update) ;;
        --differences) differences=${2:?} rest+=(--differences "$2"); shift ;;
        *) usage ;;
    esac
    shift
done
case $set in
    plain) cases=${cases:-*} exclude='12.*,13.*' expected=expected.json folder=autobahn ;;
    *) cases=${cases:-$short} exclude='' expected=expected-compression.json folder=autobahn-$set ;;
esac

here=$(dirname "$(readlink -f "$0")")
root=$(readlink -f "$here/../..")
out=${AUTOBAHN_OUT:-$root/target/test/$folder}
: "${SPROCKET_SO:?the path of the built extension}"
if [ -n "$all" ]; then
    [ "$set" != plain ] || usage
    status=0
    for group in 12.{1..5} 13.{1..7}; do
        AUTOBAHN_OUT=$out/$group "$0" "$set" --cases "$group.*" "${rest[@]}" || status=1
    done
    exit "$status"
fi

server= suite=
trap 'for pid in $suite $server; do kill "$pid" 2>/dev/null || true; done' EXIT
trap 'exit 143' INT TERM HUP

"$here/setup.sh" >/dev/null

rm -rf "$out"
mkdir -p "$out"
"${PHP:-php}" -d "extension=$SPROCKET_SO" -d memory_limit=1G "${ECHO_SERVER:-$here/echo.php}" "$set" >"$out/server.log" 2>&1 &
server=$!
for _ in $(seq 100); do
    grep -q '^ws://' "$out/server.log" && break
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
done
address=$(sed -n 's#^ws://##p' "$out/server.log" | head -n 1)
if [ -z "$address" ]; then
    echo "not ok - the echo server starts - $(tail -n 1 "$out/server.log")"
    exit 1
fi

# The verdict of autobahn.sh is kept for debugging; only the comparison below counts.
"$here/autobahn.sh" "$address" "$out" --cases "$cases" --exclude "$exclude" >"$out/verdict.log" 2>&1 &
suite=$!
for ((tenths = 0; ; tenths++)); do
    kill -0 "$suite" 2>/dev/null || break
    [ $((tenths % 100)) -ne 99 ] || echo "# $(grep -c '^Running test case' "$out/wstest.log" 2>/dev/null || true) cases so far"
    sleep 0.1
done
wait "$suite" || true
suite=

kill -TERM "$server"
if wait "$server"; then server=; else status=$? server=; echo "not ok - the echo server stops - exit status $status"; exit 1; fi
if [ "$(wc -l <"$out/server.log")" -ne 1 ]; then
    echo "not ok - the echo server is silent - $(sed -n 2p "$out/server.log")"
    exit 1
fi

python3 - "$out/index.json" "$here/$expected" "$mode" "$cases" "$differences" <<'PY'
import fnmatch, json, os, sys

report, expectation, mode, cases, differences = sys.argv[1:]
found = {}
if os.path.exists(report):
    for case, result in json.load(open(report)).get('testee', {}).items():
        found[case] = [result['behavior'], result['behaviorClose']]
order = lambda case: [int(part) for part in case.split('.')]

if mode == '--update':
    if os.path.exists(expectation):
        found = {**json.load(open(expectation)), **found}
    lines = [f'  {json.dumps(case)}: {json.dumps(found[case])}' for case in sorted(found, key=order)]
    open(expectation, 'w').write('{\n' + ',\n'.join(lines) + '\n}\n')
    sys.exit()

selected = lambda case: any(fnmatch.fnmatchcase(case, pattern) for pattern in cases.split(','))
expected = {case: want for case, want in json.load(open(expectation)).items() if selected(case)}
if differences:
    expected.update({case: other['expected'] for case, other in json.load(open(differences)).items() if case in expected})
if not expected:
    print(f'not ok - cases {cases} - none of them is expected')
    sys.exit(1)
failed = False
for case in sorted(expected.keys() | found.keys(), key=order):
    want, got = expected.get(case), found.get(case)
    if want == got:
        print(f'ok - {case}')
        continue
    failed = True
    text = lambda pair: 'no result' if pair is None else f'{pair[0]}, close {pair[1]}'
    print(f'not ok - {case} - expected {text(want)}, got {text(got)}')
sys.exit(failed)
PY
