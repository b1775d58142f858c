#!/bin/bash
# Runs suites, some of them side by side, prints the seconds of each, and ends with how many passed and failed.
#
#   tests/checks/suites.sh lint unit                                       one after another
#   tests/checks/suites.sh build --lane labs e2e --lane machines vm-test --any unit
#
# A suite is a make target. The suites named first run alone, in order. Each lane then runs its own suites in order, beside
# the other lanes; a lane that has none left takes the next of --any. Suites that share something belong into one lane.
# While lanes run, a suite's output goes to target/suites/SUITE.log and is printed when the suite ends.
#
# A failed suite does not keep later ones from running, but fails the whole; after a failed setup or build nothing else runs.
# Each suite in a lane is a session, which the kernel gives an equal share of the processors (sched_autogroup).
# Exit codes: 0 every suite passed, 1 a suite failed, 2 wrong usage, 130 interrupted.
set -u
cd "$(dirname "$0")/../.." || exit 2

usage() {
    sed -n '2,/^set -u/{s/^# \{0,1\}//;/^set -u/d;p}' "$0" >&2
    exit 2
}

alone=() lanes=() any=()
declare -A lane_suites=()
to=alone
while (($#)); do
    case $1 in
        --lane)
            [[ ${2:-} && $2 != -* && ! ${lane_suites[$2]+x} ]] || usage
            lanes+=("$2") lane_suites[$2]='' to=$2 && shift
            ;;
        --any) to=any ;;
        -*) usage ;;
        *)
            case $to in
                alone) alone+=("$1") ;;
                any) any+=("$1") ;;
                *) lane_suites[$to]+=" $1" ;;
            esac
            ;;
    esac
    shift
done
((${#alone[@]} + ${#lanes[@]})) || usage
((${#any[@]} == 0 || ${#lanes[@]})) || usage

state=$PWD/target/suites
rm -rf "$state"
mkdir -p "$state"
started=$SECONDS

# Whole seconds of processor time that a command and its children took, from what `time` printed to the file $1.
processor_seconds() { awk 'END { printf "%.0f", $1 + $2 }' "$1"; }
# Ticks since the machine's start: those of all processors, and those in which they had work.
ticks() { awk '/^cpu / { print $2 + $3 + $4 + $5 + $6 + $7 + $8 + $9, $2 + $3 + $4 + $7 + $8 + $9; exit }' /proc/stat; }
clock() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }
# Prints standard input as one block, whatever other lanes print.
block() { flock "$state/.print" cat; }
read -r ticks_then busy_then < <(ticks)

# One suite, in a session whose number is in SUITE.pid while it runs. Leaves SUITE.row for the table, and prints the output.
run() {
    local suite=$1 lane=$2 begin=$SECONDS verdict=passed seconds
    TIMEFORMAT='%U %S'
    # shellcheck disable=SC2016 # expanded by the inner shell
    local inner='echo $$ >"$1.pid"; exec make --no-print-directory "$2"'
    if [[ $lane == - ]]; then
        printf '\n=== %s\n' "$suite"
        { time setsid --wait bash -c "$inner" bash "$state/$suite" "$suite" 2>&3; } 3>&2 2>"$state/$suite.time" || verdict=FAILED
    else
        echo "=== $suite begins after $(clock $((SECONDS - started))) ($lane lane)" | block
        { time setsid --wait bash -c "$inner" bash "$state/$suite" "$suite" >"$state/$suite.log" 2>&1; } 2>"$state/$suite.time" ||
            verdict=FAILED
    fi
    rm -f "$state/$suite.pid"
    seconds=$((SECONDS - begin))
    printf '%-14s %-9s %7s %6s s %9s s  %s\n' "$suite" "$lane" "$(clock $((begin - started)))" "$seconds" \
        "$(processor_seconds "$state/$suite.time")" "$verdict" >"$state/$suite.row"
    echo "$seconds" >>"$state/$lane.seconds"
    if [[ $lane != - ]]; then
        {
            printf '\n=== %s: %s in %s s (%s lane)\n' "$suite" "$verdict" "$seconds" "$lane"
            cat "$state/$suite.log"
            printf '=== end of %s\n' "$suite"
        } | block
    fi
    [[ $verdict == passed ]]
}

# Runs a lane's own suites, then those of --any that no other lane has taken.
run_lane() {
    local lane=$1 suite
    for suite in ${lane_suites[$lane]}; do
        [[ -e $state/.stopping ]] || run "$suite" "$lane"
    done
    for suite in "${any[@]}"; do
        [[ -e $state/.stopping ]] || ! mkdir "$state/$suite.taken" 2>/dev/null || run "$suite" "$lane"
    done
}

# The processes of running suites, by their sessions.
sessions() {
    local file pid
    for file in "$state"/*.pid; do
        [[ -e $file ]] || continue
        pid=$(cat "$file" 2>/dev/null) || continue
        # A number that has gone to another process since is not a session of ours.
        [[ $(ps -o sid= -p "$pid" 2>/dev/null | tr -d ' ') == "$pid" ]] && echo "$pid"
    done
}

lane_pids=() heart=''
stop() {
    trap '' INT TERM
    local code=$1 pid left=30
    : >"$state/.stopping"
    [[ ! $heart ]] || kill "$heart" 2>/dev/null
    for pid in $(sessions); do kill -TERM -- "-$pid" 2>/dev/null; done
    # A lab needs some seconds to end its parts and remove its networks.
    while ((left-- > 0)) && [[ $(sessions) ]]; do sleep 1; done
    for pid in $(sessions); do kill -KILL -- "-$pid" 2>/dev/null; done
    for pid in "${lane_pids[@]}"; do kill "$pid" 2>/dev/null; done
    echo "suites: interrupted after $(clock $((SECONDS - started)))" >&2
    exit "$code"
}
trap 'stop 130' INT TERM

# Says every minute what runs, so that a long suite is not taken for a hanging one.
heartbeat() {
    local file suite
    while sleep 60; do
        for file in "$state"/*.pid; do
            [[ -e $file ]] || continue
            suite=$(basename "$file" .pid)
            [[ ! -e $state/$suite.log ]] ||
                printf '    %s %s: %s\n' "$(clock $((SECONDS - started)))" "$suite" "$(tail -n 1 "$state/$suite.log" | cut -c1-140)" | block
        done
    done
}

table() {
    local suite lane file
    printf '\n=== seconds per suite\n%-14s %-9s %7s %8s %11s\n' suite lane begin wall processor
    for suite in "${alone[@]}" "${lane_order[@]}"; do
        [[ ! -e $state/$suite.row ]] || cat "$state/$suite.row"
    done
    for lane in "${lanes[@]}"; do
        file=$state/$lane.seconds
        [[ ! -e $file ]] || printf '%-14s %-9s %7s %6s s\n' "the lane" "$lane" '' "$(awk '{ sum += $1 } END { print sum }' "$file")"
    done
    read -r ticks_now busy_now < <(ticks)
    printf '%-14s %-9s %7s %6s s; the processors had work for %s %% of that\n\n' "in all" '' '' "$((SECONDS - started))" \
        "$((100 * (busy_now - busy_then) / (ticks_now - ticks_then + 1)))"
}

lane_order=()
for lane in "${lanes[@]}"; do
    for suite in ${lane_suites[$lane]}; do lane_order+=("$suite"); done
done
lane_order+=("${any[@]}")

usable=1
for suite in "${alone[@]}"; do
    # In the background, because a trap runs only when the command in the foreground has ended.
    run "$suite" - &
    lane_pids=($!)
    if ! wait $!; then
        # Without a build nothing after it can tell anything.
        case $suite in setup | build) usable='' && break ;; esac
    fi
done

if [[ $usable ]] && ((${#lanes[@]})); then
    # What the suites would begin with is done: they need not take turns at cargo's lock to find that out.
    case " ${alone[*]} " in *" build "*) export FILIAL_BUILT=1 ;; esac
    lane_pids=()
    for lane in "${lanes[@]}"; do
        run_lane "$lane" &
        lane_pids+=($!)
    done
    heartbeat &
    heart=$!
    wait "${lane_pids[@]}"
    kill "$heart" 2>/dev/null
    wait "$heart" 2>/dev/null
fi

failed=$(grep -l 'FAILED$' "$state"/*.row 2>/dev/null | wc -l)
passed=$(grep -l 'passed$' "$state"/*.row 2>/dev/null | wc -l)
for row in "$state"/*.row; do
    suite=$(basename "$row" .row)
    if ! grep -q 'FAILED$' "$row" 2>/dev/null || [[ ! -e $state/$suite.log ]]; then continue; fi
    printf '\n=== %s FAILED; the end of %s\n' "$suite" "target/suites/$suite.log"
    tail -n 40 "$state/$suite.log"
done
table
echo "suites: $passed passed, $failed failed"
((failed == 0))
