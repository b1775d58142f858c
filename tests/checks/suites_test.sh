#!/bin/bash
# Tests the runner of suites: verdicts and exit code, lanes side by side, the common queue, and that an interrupted run
# leaves no process behind. A few seconds; needs nothing but make.
#
#   tests/checks/suites_test.sh
set -euo pipefail
cd "$(dirname "$0")"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/tests/checks"
cp suites.sh "$work/tests/checks/"
runner=$work/tests/checks/suites.sh
printf '%s:\n\t@%s\n' good 'echo said by good' bad 'echo said by bad; exit 3' build 'true' \
    first "touch $work/first; for n in \$\$(seq 100); do [ -e $work/second ] && exit 0; sleep 0.1; done; exit 1" \
    second "touch $work/second; for n in \$\$(seq 100); do [ -e $work/first ] && exit 0; sleep 0.1; done; exit 1" \
    built "[ \"\$\$FILIAL_BUILT\" = 1 ]" long "echo \$\$\$\$ > $work/long.pid; exec sleep 321" >"$work/Makefile"

fail() {
    printf 'suites_test: %s; the runner printed:\n%s\n' "$1" "$(cat "$work/out")" >&2
    exit 1
}
# Runs the runner; its exit code must be $1 and its last line $2.
expect() {
    local code=0 wanted=$1 line=$2
    shift 2
    "$runner" "$@" >"$work/out" 2>&1 || code=$?
    [[ $code == "$wanted" ]] || fail "'$*' ended with $code instead of $wanted"
    [[ $(tail -n 1 "$work/out") == "$line" ]] || fail "'$*' did not end with '$line'"
}

expect 0 'suites: 2 passed, 0 failed' good build
expect 1 'suites: 1 passed, 1 failed' bad good
expect 1 'suites: 0 passed, 1 failed' setup good
expect 0 'suites: 2 passed, 0 failed' --lane one first --lane two second
expect 1 'suites: 3 passed, 1 failed' build --lane one bad good --any built
grep -q 'said by bad' <(sed -n '/bad FAILED; the end of/,$p' "$work/out") || fail 'the failure is not shown at the end'
grep -Eq '^built +one .* passed$' "$work/out" || fail 'the table does not show in which lane the common queue ran'
code=0
"$runner" --lane one >/dev/null --any 2>&1 good --lane one good || code=$?
[[ $code == 2 ]] || fail "a lane named twice ended with $code instead of 2"

"$runner" --lane one long >"$work/out" 2>&1 &
pid=$!
for _ in $(seq 100); do [[ ! -s $work/long.pid ]] || break; sleep 0.1; done
kill -TERM "$pid"
code=0
wait "$pid" || code=$?
[[ $code == 130 ]] || fail "an interrupted run ended with $code instead of 130"
! kill -0 "$(cat "$work/long.pid")" 2>/dev/null || fail 'an interrupted run left a process behind'
echo "suites_test: verdicts, lanes, queue and interruption are as they should be"
