#!/bin/sh
# Installs what the build, the demo and the tests need on Debian 12, and nothing that is there already.
#
#   tests/checks/setup.sh            install
#   tests/checks/setup.sh --list     print the packages, one a line
#   tests/checks/setup.sh --missing  print those that are not installed
#
# Needs root to install; a machine that has everything needs no root.
set -eu

# The real parts; the lab's network and images; virtual machines, their disks and bootloaders; the build; the checks.
packages="
postgresql pgbouncer transmission-daemon transmission-cli opentracker aria2
iproute2 nftables procps util-linux faketime mmdebstrap debian-archive-keyring squashfs-tools grub-common
qemu-system-x86 qemu-utils ovmf grub-efi-amd64-bin grub-emu mtools dosfstools e2fsprogs fdisk kmod systemd binutils
u-boot-qemu u-boot-tools libubootenv-tool
gcc libc6-dev make pkg-config ca-certificates curl
git python3 python3-venv shellcheck zstd
"

if [ "${1:-}" = "--list" ]; then
    # shellcheck disable=SC2086 # a list of words
    printf "%s\n" $packages
    exit 0
fi

# Sets $missing.
look() {
    missing=""
    for package in $packages; do
        status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
        [ "$status" = installed ] || missing="$missing $package"
    done
}
look

if [ "${1:-}" = "--missing" ]; then
    # shellcheck disable=SC2086 # a list of words
    [ -z "$missing" ] || printf "%s\n" $missing
    exit 0
fi

cd "$(dirname "$0")/../.."
# A full disk ends a link with a bus error, half an hour later.
if [ ! -e target/debug/lab ]; then
    free=$(df -Pm . | awk 'NR == 2 { print $4 }')
    if [ "$free" -lt 12000 ]; then
        echo "setup: $free MB are free at $(pwd); a first build with its images takes about 12000 MB. Free some space, then repeat this command." >&2
        exit 1
    fi
fi

if [ -n "$missing" ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "setup: these packages are missing, and only root can install them:$missing" >&2
        echo "setup: run 'sudo make setup' once, then repeat this command." >&2
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    # The lab starts its own daemons in its own networks: keep the packages from starting theirs on this machine.
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
        chmod +x /usr/sbin/policy-rc.d
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT INT TERM
    fi
    apt-get update -qq
    # Twice if need be: apt removes a package of the list that is there from another source and conflicts with a new one.
    for _ in first second; do
        [ -n "$missing" ] || break
        echo "setup: installing$missing"
        # shellcheck disable=SC2086 # a list of words
        apt-get install -y -qq --no-install-recommends $missing > /dev/null
        look
    done
    if [ -n "$missing" ]; then
        echo "setup: apt installed the packages and these are still missing:$missing; run 'apt-get install$missing' to see why." >&2
        exit 1
    fi
fi

if ! command -v cargo > /dev/null; then
    echo "setup: cargo is not in PATH. Install the Rust toolchain named in Cargo.toml (rust-version), then repeat this command." >&2
    exit 1
fi
if ! cargo nextest --version > /dev/null 2>&1; then
    echo "setup: installing cargo-nextest (once)"
    cargo install --quiet --locked cargo-nextest@0.9.143
fi
