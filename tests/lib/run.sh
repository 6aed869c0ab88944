# Runs programs with a time limit, and ends whatever they leave running. Sourced by bin/test.

child=
follower=
declare -A side=() # output files of side_by_side by process id

# Ends all running children; for traps.
stop_children() {
    local pid
    for pid in "${!side[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${!side[@]}"; do wait "$pid" 2>/dev/null || true; done
    [ -z "$child" ] || kill -- "$child" 2>/dev/null || true # timeout passes it on
    [ -z "$follower" ] || kill -- "$follower" 2>/dev/null || true
    [ -z "$child" ] || wait "$child" 2>/dev/null || true
    child= follower=
}

# Whether process group $1 has a process that is not a zombie.
group_lives() { ps -e -o pgid=,stat= | awk -v group="$1" '$1 == group && $2 !~ /^Z/ { found = 1 } END { exit !found }'; }

# bounded SECONDS LOG COMMAND…: runs a command, shows its output, and keeps it in LOG. Returns the
# command's status, or 124 after SECONDS. Ends processes that the command leaves running.
bounded() {
    local seconds=$1 log=$2 status=0 group tries
    shift 2
    mkdir -p "$(dirname "$log")"
    : >"$log"
    # timeout creates a process group, which identifies leftover processes. (Descriptor 9 is bin/test's lock.)
    timeout -k 10 "$seconds" "$@" >"$log" 2>&1 </dev/null 9>&- &
    child=$!
    group=$child
    tail -n +1 -s 0.1 -f --pid="$child" "$log" 9>&- &
    follower=$!
    wait "$child" || status=$?
    child=
    wait "$follower" || true
    follower=
    for tries in 1 2 3 4 5 6 7 8 9 10; do # a browser's helper processes end with a delay
        group_lives "$group" || break
        sleep 0.2
    done
    if group_lives "$group"; then
        note "left running by $(basename "${1}") ${2:-}, ending it:"
        ps -e -o pgid=,pid=,args= | awk -v group="$group" '$1 == group' | cut -c1-150
        kill -TERM -- "-$group" 2>/dev/null || true
        sleep 1
        kill -KILL -- "-$group" 2>/dev/null || true
    fi
    return "$status"
}

# side_by_side WIDTH FUNCTION ARGUMENT…: calls FUNCTION for each argument, WIDTH at a time. Shows the
# output of each call when the call has ended.
side_by_side() {
    local width=$1 function=$2 argument out
    shift 2
    for argument; do
        [ ${#side[@]} -lt "$width" ] || side_wait
        out=$(mktemp "$work/side.XXXXXX")
        (
            side=()
            trap stop_children EXIT
            trap 'exit 143' INT TERM HUP
            "$function" "$argument"
        ) >"$out" 2>&1 &
        side[$!]=$out
    done
    while [ ${#side[@]} -gt 0 ]; do side_wait; done
}

side_wait() {
    local pid='' status=0 out
    wait -n -p pid "${!side[@]}" || status=$?
    out=${side[$pid]}
    unset "side[$pid]"
    cat "$out"
    rm -f "$out"
    [ "$status" -eq 0 ] || fail "the ring itself" "a part of it ended with status $status"
}

slug() { printf '%s' "$1" | tr -c 'A-Za-z0-9._-' '-'; }

# step NAME SECONDS COMMAND…: one test, which passes if the command succeeds.
step() {
    local name=$1 seconds=$2 status=0
    shift 2
    bounded "$seconds" "$work/log/$ring/$(slug "$name").log" "$@" || status=$?
    case $status in
        0) ok "$name" ;;
        124 | 137) fail "$name" "timed out after $seconds s" ;;
        *) fail "$name" "exit status $status" ;;
    esac
}

# tap NAME SECONDS COMMAND…: runs a program that prints a line for each of its tests:
#   ok - NAME / not ok - NAME - REASON / skip - NAME - REASON
# and exits with a status other than 0 if one failed. A program that crashes or reports no test fails.
#
# A failed program runs a second time, when no other program of its ring runs. A test that passes only
# then still counts as failed, and is listed by name, which tells flaky tests from broken ones.
# TEST_ATTEMPTS=1 skips the second run.
tap() {
    local name=$1 seconds=$2 status=0 log line said failed start=$SECONDS attempt died=
    local -A at_first=()
    shift 2
    log=$work/log/$ring/$(slug "$name").log
    note "$name"
    for attempt in 1 2; do
        status=0
        bounded "$seconds" "$log" "$@" || status=$?
        [ "$attempt" -eq 1 ] && [ "$status" -ne 0 ] && [ "${TEST_ATTEMPTS:-2}" -gt 1 ] || break
        cp "$log" "$log.first"
        note "SECOND ATTEMPT at $name: it ended with status $status"
        while IFS= read -r line; do
            line=${line#not ok - }
            at_first["= ${line%% - *}"]=$line
        done < <(grep '^not ok - ' "$log.first")
        [ ${#at_first[@]} -gt 0 ] || died="status $status"
    done
    said=0 failed=0
    while IFS= read -r line; do
        case $line in
            'ok - '*) line=${line#ok - }
                if [ -n "${at_first["= $line"]:-}" ]; then
                    record second "$name: $line" "${at_first["= $line"]}"
                else
                    record ok "$name: $line"
                fi ;;
            'not ok - '*) record fail "$name: ${line#not ok - }"
                failed=$((failed + 1)) ;;
            'skip - '*) line=${line#skip - }
                record skip "$name: ${line%% - *}" "${line#* - }" ;;
            *) continue ;;
        esac
        said=$((said + 1))
    done <"$log"
    note "$said tests in $((SECONDS - start)) s"
    case $status in
        124 | 137) fail "$name" "timed out after $seconds s" ;;
        0)
            [ "$said" -gt 0 ] || fail "$name" "reported no test"
            # The first attempt crashed or timed out without a failed test.
            [ -z "$died" ] || record second "$name" "$died"
            ;;
        *) [ "$failed" -gt 0 ] || fail "$name" "exit status $status without a failed test" ;;
    esac
}
