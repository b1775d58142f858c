#!/bin/sh
# Installs what the build, the demo and the tests need on Debian 12, and nothing that is there already.
#
#   tests/checks/setup.sh            install
#   tests/checks/setup.sh --list     print the packages, one a line
#
# Needs root to install; a machine that has everything needs no root.
set -eu

# The real parts; the lab's network and images; virtual machines, their disks and bootloaders; the build; the checks.
packages="
postgresql transmission-daemon opentracker aria2
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

# A full disk ends a link with a bus error, half an hour later.
cd "$(dirname "$0")/../.."
if [ ! -e target/debug/lab ]; then
    free=$(df -Pm . | awk 'NR == 2 { print $4 }')
    if [ "$free" -lt 12000 ]; then
        echo "setup: $free MB are free at $(pwd), and a first build with its images takes about 12000: make room, then run this again." >&2
        exit 1
    fi
fi

missing=""
for package in $packages; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done

if [ -n "$missing" ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "setup: these packages are missing and only root can install them:$missing" >&2
        echo "setup: run 'sudo make setup' once, then go on." >&2
        exit 1
    fi
    echo "setup: installing$missing"
    export DEBIAN_FRONTEND=noninteractive
    # The lab starts its own daemons in its own networks: keep the packages from starting theirs on this machine.
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
        chmod +x /usr/sbin/policy-rc.d
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT INT TERM
    fi
    apt-get update -qq
    # shellcheck disable=SC2086 # a list of words
    apt-get install -y -qq --no-install-recommends $missing > /dev/null
fi

if ! command -v cargo > /dev/null; then
    echo "setup: no cargo in PATH; install the Rust toolchain named in Cargo.toml (rust-version), then run this again." >&2
    exit 1
fi
if ! cargo nextest --version > /dev/null 2>&1; then
    echo "setup: installing cargo-nextest (once)"
    cargo install --quiet --locked cargo-nextest@0.9.143
fi
