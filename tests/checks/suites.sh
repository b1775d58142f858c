#!/bin/sh
# Runs the named suites in order, prints the seconds of each, and ends with what passed and what failed.
#
#   tests/checks/suites.sh lint unit e2e
#
# A suite is a make target. A failed suite does not keep the later ones from running, but fails the whole.
set -u
cd "$(dirname "$0")/../.." || exit 1

table=""
passed=0
failed=0
started=$(date +%s)
for suite in "$@"; do
    printf '\n=== %s\n' "$suite"
    begin=$(date +%s)
    if make --no-print-directory "$suite"; then
        verdict=passed
        passed=$((passed + 1))
    else
        verdict=FAILED
        failed=$((failed + 1))
    fi
    seconds=$(($(date +%s) - begin))
    table="$table$(printf '%-14s %5s s  %s' "$suite" "$seconds" "$verdict")
"
    # Without a build nothing after it can tell anything.
    if [ "$verdict" = FAILED ]; then
        case $suite in setup | build) break ;; esac
    fi
done

printf '\n=== seconds per suite\n%s%-14s %5s s\n\n' "$table" "in all" "$(($(date +%s) - started))"
echo "suites: $passed passed, $failed failed"
[ "$failed" = 0 ]
