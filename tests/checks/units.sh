#!/bin/sh
# Checks the terminal's systemd units without a running systemd: how much each service may do (systemd-analyze security),
# and whether systemd can load them (systemd-analyze verify).
#
#     tests/checks/units.sh
#
# Prints each service's exposure. Exit codes: 0 every unit passed, 1 a unit failed, 2 the check could not run.
set -eu

dist=$(cd "$(dirname "$0")/../../terminal-agent/dist" && pwd)
command -v systemd-analyze >/dev/null || { echo "units.sh: systemd-analyze is missing. Run 'make setup', which installs the package systemd." >&2; exit 2; }
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
failed=0

# Most that each service's exposure may be, in tenths: systemd-analyze rates from 0 (shut) to 100 (open). The agent talks to
# the network; the helper is root with two block devices: README.md of terminal-agent says what is open in it and why.
for limit in terminal-agent:20 terminal-helper:9 terminal-trial:7; do
    unit=${limit%:*}.service
    if ! systemd-analyze security --no-pager --offline=true --threshold="${limit#*:}" "$dist/$unit" >"$root/report" 2>&1; then
        echo "$unit is more exposed than its limit: 'systemd-analyze security --offline=true $dist/$unit' shows why" >&2
        failed=1
    fi
    exposure=$(sed -n 's/.*Overall exposure level for [^:]*: \([0-9.]*\).*/\1/p' "$root/report" | head -n 1)
    [ -n "$exposure" ] || { cat "$root/report" >&2; exit 2; }
    echo "exposure of $unit: $exposure (at most $(echo "${limit#*:}" | sed "s/^.$/0&/; s/.$/.&/"))"
done

# A separate root with this machine's systemd units, ours, and stand-ins for our programs. Users need not exist for this.
mkdir -p "$root/fs/usr/lib/systemd" "$root/fs/usr/bin" "$root/fs/etc/systemd/system"
cp -a /lib/systemd/. "$root/fs/usr/lib/systemd"
ln -s usr/lib "$root/fs/lib"
ln -s usr/bin "$root/fs/bin"
ln -s usr/bin "$root/fs/sbin"
cp "$dist"/terminal-*.service "$dist"/terminal-*.socket "$dist"/terminal-*.timer "$root/fs/etc/systemd/system/"
for program in terminal-agent terminal-helper; do
    printf '#!/bin/sh\n' >"$root/fs/usr/bin/$program"
    chmod 755 "$root/fs/usr/bin/$program"
done
units=$(cd "$root/fs/etc/systemd/system" && ls)
# shellcheck disable=SC2086 # one word each
(cd "$root/fs/etc/systemd/system" && systemd-analyze verify --man=no --root="$root/fs" $units) >"$root/report" 2>&1 && loads=1 || loads=0
# Findings about other units are ignored; there may be none about ours.
if grep -E 'terminal-(agent|helper|trial)' "$root/report" >"$root/ours"; then
    sed "s|$root/fs/etc/systemd/system|$dist|g" "$root/ours" >&2
    failed=1
elif [ "$loads" = 0 ]; then
    cat "$root/report" >&2
    failed=1
fi
[ "$failed" = 0 ] || { echo "units.sh: correct the findings above in $dist" >&2; exit 1; }
echo "systemd can load: $(echo "$units" | tr '\n' ' ')"
