#!/bin/sh
# Prints the seed of the kill matrix: FILIAL_KILL_SEED if it is set, else a number from the commit that is checked out.
#
#   tests/checks/kill_seed.sh
set -eu
cd "$(dirname "$0")/../.."
if [ -n "${FILIAL_KILL_SEED:-}" ]; then
    echo "$FILIAL_KILL_SEED"
else
    # A source tree without its history has no commit.
    commit=$(git rev-parse HEAD 2>/dev/null || echo 000001)
    printf '%d\n' "0x$(printf %.6s "$commit")"
fi
