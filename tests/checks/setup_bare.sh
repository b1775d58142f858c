#!/bin/bash
# Tests that 'make setup' installs everything needed: in a bare Debian tree (mmdebstrap, minbase and make) that shares only
# the Rust toolchain with this machine, it installs, compiles C and Rust, and runs the whole stack.
#
#   tests/checks/setup_bare.sh            needs root, and what 'make build images' made
#
# The tree lives in target/setup-bare and is removed at the end; its mounts live in a mount namespace and end with
# it. About three minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."
repository=$PWD
codename=bookworm
# shellcheck source=images/host-apt.sh
. images/host-apt.sh

die() {
    printf 'setup_bare: %s\n' "$*" >&2
    exit 1
}

[[ $(id -u) = 0 ]] || die "only root can make a Debian tree and enter it; run it as root"
[[ -x target/debug/lab ]] || die "target/debug/lab is missing: run 'make build images' first"

work=$repository/target/setup-bare
root=$work/root
rm -rf --one-file-system "$work"
mkdir -p "$work"
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 130' INT TERM

echo "setup_bare: making a bare Debian tree"
host_sources "$codename" "$codename-updates" "$codename-security" > "$work/sources.list"
grep -q -- " $codename " "$work/sources.list" || die "the apt sources of this host have no suite '$codename'"
host_apt_options > "$work/apt.conf"
mmdebstrap --quiet --variant=minbase --include=make --aptopt="$work/apt.conf" \
    "$codename" "$root" "$work/sources.list" > "$work/mmdebstrap.log" 2>&1 ||
    { tail -n 30 "$work/mmdebstrap.log" >&2 && die "mmdebstrap failed: its last lines are above"; }
for command in gcc git python3 psql transmission-daemon mksquashfs nft; do
    [[ ! -e $root/usr/bin/$command ]] || die "the bare tree has $command already: it would show nothing"
done

# The tree is removed at the end: dpkg need not wait until each file is on the disk.
mkdir -p "$root/etc/dpkg/dpkg.cfg.d"
echo force-unsafe-io > "$root/etc/dpkg/dpkg.cfg.d/setup-bare"

# The toolchain: rustc and its libraries, cargo and what it has fetched, nextest if it lies elsewhere.
sysroot=$(rustc --print sysroot)
cargo_home=${CARGO_HOME:-$HOME/.cargo}
bound=("$repository" "$sysroot" "$cargo_home")
nextest=$(command -v cargo-nextest || true)
[[ -z $nextest || $nextest == "$cargo_home"/* ]] || bound+=("$nextest")

# What happens inside; PATH has no shim that would need more of this machine than the sysroot.
inside="
set -eu
cd '$repository'
make --no-print-directory setup
again=\$(make --no-print-directory setup)
[ -z \"\$again\" ] || { echo \"setup_bare: a second setup was not silent: \$again\" >&2; exit 1; }
echo 'setup_bare: compiling C and Rust'
cargo build --quiet --locked --offline --target-dir /var/tmp/target -p artifact
for command in aria2c shellcheck mmdebstrap mksquashfs unsquashfs grub-editenv git python3 zstd curl nft ip; do
    command -v \$command > /dev/null || { echo \"setup_bare: 'make setup' did not bring \$command\" >&2; exit 1; }
done
echo 'setup_bare: running the whole stack'
# Labs find each other by locks in /run, and this tree has another /run: a separate network namespace keeps them apart.
unshare --net sh -euc \"ip link set lo up; target/debug/lab demo --once --name setup-bare --report '$work/demo.json'\"
tests/checks/report.py '$work/demo.json'
"

# shellcheck disable=SC2016 # expanded by the inner shell
unshare --mount --propagation private --pid --fork --kill-child bash -euc '
    root=$1 inside=$2 path=$3 cargo_home=$4
    shift 4
    # `ip` expects the root folder to be a mount point.
    mount --bind "$root" "$root"
    for from in "$@"; do
        if [[ -d $from ]]; then mkdir -p "$root$from"; else mkdir -p "$(dirname "$root$from")" && touch "$root$from"; fi
        mount --bind "$from" "$root$from"
    done
    mount -t proc proc "$root/proc"
    mount --rbind /sys "$root/sys"
    mount --rbind /dev "$root/dev"
    mkdir -p "$root/run/netns"
    cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
    exec chroot "$root" /usr/bin/env -i HOME=/root PATH="$path" CARGO_HOME="$cargo_home" \
        CARGO_TERM_COLOR=never DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 sh -c "$inside"
' bash "$root" "$inside" \
    "$sysroot/bin:$cargo_home/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" "$cargo_home" "${bound[@]}"
echo "setup_bare: 'make setup' installed everything needed"
