#!/usr/bin/env bash
# Has python-tuf verify a repository that crates/trust writes. The virtual environment lives below the target folder and
# is made once; pip takes its packages from wherever the host's configuration says. The examples must be built.
#
#     tests/checks/python_tuf.sh
set -euo pipefail

repository=$(cd "$(dirname "$0")/../.." && pwd)
cd "$repository"
work=$repository/target/python-tuf
wanted=(tuf==7.0.1 securesystemslib==1.6.0)

if [[ "$(cat "$work/venv/installed" 2>/dev/null)" != "${wanted[*]}" ]]; then
    rm -rf "$work/venv"
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" install --quiet --disable-pip-version-check "${wanted[@]}"
    echo "${wanted[*]}" >"$work/venv/installed"
fi

rm -rf "$work/repository"
mkdir -p "$work/repository"
target/debug/examples/write_repository "$work/repository" "$(date +%s)"
"$work/venv/bin/python" tests/checks/python_tuf.py "$work/repository"
