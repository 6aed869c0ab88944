#!/usr/bin/env bash
# Runs the Autobahn fuzzing client against a WebSocket echo server, and evaluates the report.
#
#   autobahn.sh HOST:PORT[/PATH] OUTDIR [--cases '1.*,2.*'] [--exclude '9.*'] [--strict]
#
# Leaves index.json, index.html, a report for each case, and wstest.log in OUTDIR.
# Exit status: 0 if every case is OK, NON-STRICT, INFORMATIONAL or UNIMPLEMENTED (with
# --strict: OK or INFORMATIONAL) and ended with a proper close; 1 if some case did not; 2 if
# the suite did not finish. AUTOBAHN_TIMEOUT limits the run (1800 seconds).
set -euo pipefail

usage() { sed -n '4s/^# */usage: /p' "$0" >&2; exit 2; }

cases='*' exclude='' strict='' args=()
while [ $# -gt 0 ]; do
    case $1 in
        --cases) cases=${2:?}; shift 2 ;;
        --exclude) exclude=${2?}; shift 2 ;;
        --strict) strict=1; shift ;;
        -*) usage ;;
        *) args+=("$1"); shift ;;
    esac
done
[ ${#args[@]} -eq 2 ] || usage
server=${args[0]} out=${args[1]}

wstest=$("$(dirname "$(readlink -f "$0")")/setup.sh") || exit 2

mkdir -p "$out"
out=$(readlink -f "$out")
rm -f "$out"/index.json "$out"/index.html "$out"/testee_case_*

python3 - "$server" "$out" "$cases" "$exclude" <<'PY' || exit 2
import json, os, socket, sys

server, out, cases, exclude = sys.argv[1:]
host, _, port = server.split('/')[0].rpartition(':')
try:
    socket.create_connection((host.strip('[]'), int(port)), timeout=5).close()
except (OSError, ValueError) as error:
    sys.exit(f'no server at {server}: {error}')
split = lambda patterns: [p.strip() for p in patterns.split(',') if p.strip()]
with open(os.path.join(out, 'spec.json'), 'w') as spec:
    json.dump({
        'outdir': out,
        'servers': [{'agent': 'testee', 'url': f'ws://{server}'}],
        'cases': split(cases),
        'exclude-cases': split(exclude),
        'exclude-agent-cases': {},
    }, spec)
PY

start=$(date +%s.%N)
rc=0
timeout -k 10 "${AUTOBAHN_TIMEOUT:-1800}" \
    "$wstest" -m fuzzingclient -s "$out/spec.json" >"$out/wstest.log" 2>&1 &
client=$!
trap 'kill $client' EXIT # timeout passes it on to wstest
trap 'exit 143' TERM INT HUP
wait $client || rc=$?
trap - EXIT TERM INT HUP

# wstest exits with status 0 even if the server disappears, so this counts the cases.
python3 - "$out" "$rc" "$strict" "$start" <<'PY'
import collections, json, os, re, sys, time

out, rc, strict, start = sys.argv[1:]
log = open(os.path.join(out, 'wstest.log'), errors='replace').read()
planned = re.search(r'will run (\d+) test cases', log)
try:
    report = json.load(open(os.path.join(out, 'index.json')))
except FileNotFoundError:
    report = {}
results = report.get('testee', {})

CLOSED = ('OK', 'INFORMATIONAL')

def order(case):
    return [int(part) for part in case.split('.')]

count = collections.Counter()
bad = []
for case in sorted(results, key=order):
    behavior, close = results[case]['behavior'], results[case]['behaviorClose']
    good = {'OK': 'passed', 'NON-STRICT': 'non-strict', 'INFORMATIONAL': 'informational',
            'UNIMPLEMENTED': 'unimplemented'}
    kind = good.get(behavior, 'failed')
    if close not in CLOSED:
        kind = 'failed'
    count[kind] += 1
    if kind == 'failed' or strict and kind in ('non-strict', 'unimplemented'):
        bad.append(f'  {case}: {behavior}' + ('' if close in CLOSED else f', close {close}'))

print(f"{count['passed']} passed, {count['failed']} failed, {count['non-strict']} non-strict, "
      f"{count['informational']} informational, {count['unimplemented']} unimplemented")
if bad:
    print('\n'.join(bad))
print(f'{time.time() - float(start):.1f} s; report in {out}', file=sys.stderr)

total = int(planned.group(1)) if planned else 0
if rc != '0' or not results or len(results) != total:
    print(f'incomplete: {len(results)} of {total or "?"} cases have a result (wstest status {rc})')
    print('\n'.join('  | ' + line[:300] for line in log.splitlines()[-5:]))
    sys.exit(2)
sys.exit(1 if bad else 0)
PY
