# shellcheck shell=bash
# What the builders of terminal images share. To be sourced by bash, with $here as the folder of the builder; the caller's
# $scratch is a folder that goes away with it, $cache is where results stay.

# shellcheck source=images/host-apt.sh
. "$(dirname "${BASH_SOURCE[0]}")/../host-apt.sh"

# Every time inside an image is this one: 1 January 2025, UTC.
epoch=1735689600
# The release of Debian that the images are made of, so that a recipe does not change with its builder.
codename=bookworm

say() { printf '%s\n' "$*" >&2; }
die() {
    say "$(basename "$0"): $*"
    exit 1
}

need() {
    local tool
    for tool in "$@"; do
        command -v "$tool" >/dev/null || die "$tool is missing: run 'make setup'"
    done
}

# The folder where results stay ($cache, by default $1) and one that goes away ($scratch). One build of the builder $2 at a
# time: two would race for the same cache entries. Two builders have no entry in common.
open_cache() {
    cache=${FILIAL_IMAGES_CACHE:-$1}
    mkdir -p "$cache"
    cache=$(cd "$cache" && pwd)
    scratch=$(mktemp -d "$cache/.work.XXXXXX")
    trap 'rm -rf --one-file-system "$scratch"' EXIT
    trap 'exit 130' INT TERM
    exec 9>"$cache/.$2.lock"
    flock 9
}

# A hash over the names and contents of files, in an order that no locale can change.
hash_files() {
    (cd "$1" && shift && find "$@" -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum) | sha256sum | cut -c1-16
}

# A Debian tree as a tar at $1, from the suites $2 (words), with the further options of mmdebstrap that follow.
debian_tree() {
    local out=$1 suites=$2 suite
    shift 2
    # shellcheck disable=SC2086 # a list of words
    host_sources $suites >"$scratch/sources.list"
    grep -q -- " $codename " "$scratch/sources.list" ||
        die "the apt sources of this host have no suite '$codename': add the Debian mirror to /etc/apt/sources.list.d"
    for suite in $suites; do
        grep -q -- " $suite " "$scratch/sources.list" || say "note: this host has no suite '$suite'; built without it"
    done
    host_apt_options >"$scratch/apt.conf"
    SOURCE_DATE_EPOCH=$epoch mmdebstrap --quiet --aptopt="$scratch/apt.conf" \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/info/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/lintian/*' --dpkgopt='path-exclude=/usr/share/bug/*' \
        "$@" "$codename" "$scratch/tree.tar" "$scratch/sources.list" >"$scratch/mmdebstrap.log" 2>&1 ||
        { tail -n 30 "$scratch/mmdebstrap.log" >&2 && die "mmdebstrap failed: its last lines are above"; }
    mv "$scratch/tree.tar" "$out"
}

# The options of mksquashfs: uncompressed, so that deltas and transport compression see the bytes; fixed times, so that it
# is reproducible.
# shellcheck disable=SC2034 # the builders use it
squashfs_options=(-noI -noD -noF -noX -no-xattrs -no-exports -no-progress -quiet -mkfs-time "$epoch" -all-time "$epoch")
