#!/usr/bin/env bash
# Make terminal root filesystem images: uncompressed squashfs, reproducible for a given set of packages.
#
#   images/terminal/build.sh [VERSION_DIR…]      default: every folder of images/terminal/versions
#
# A VERSION_DIR holds image.conf (VERSION, TREE, SUITES) and, if wanted, overlay/: files laid over the tree.
# Prints the path of each image, one a line. Everything is kept in target/images, keyed by a hash of its recipe:
# the package tree (slow, once), and each image (about a second). NAME.squashfs is always the newest of that name.
#
# The mirror is the host's own (images/host-apt.sh).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=images/terminal/common.sh
. "$here/common.sh"
need mmdebstrap mksquashfs unsquashfs tar sha256sum awk flock apt-config
open_cache "$here/../../target/images" terminal

# Lay the version's own files over a copy of the tree and make the image.
build_image() {
    local tree=$1 dir=$2 version=$3 out=$4
    local over=$scratch/overlay
    rm -rf "$over"
    mkdir -p "$over/etc"
    cp -r "$here/overlay/." "$over/"
    [[ -d $dir/overlay ]] && cp -r "$dir/overlay/." "$over/"
    tar -xOf "$tree" ./usr/lib/os-release >"$over/etc/os-release"
    printf 'IMAGE_ID=filial-terminal\nIMAGE_VERSION=%s\n' "$version" >>"$over/etc/os-release"
    chmod -R u=rwX,go=rX "$over"
    chmod 0755 "$over"/etc/terminal-agent/health.d/*
    # Only what the tree does not have: its own folders keep their owners and modes.
    (cd "$over" && find . -type f -print0 | LC_ALL=C sort -z) |
        tar -C "$over" --null --no-recursion -T - --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner \
            --format=gnu -cf "$scratch/overlay.tar"
    cp "$tree" "$scratch/whole.tar"
    tar --concatenate --file="$scratch/whole.tar" "$scratch/overlay.tar"
    mksquashfs - "$scratch/image" -tar "${squashfs_options[@]}" <"$scratch/whole.tar" >"$scratch/mksquashfs.log" 2>&1 ||
        { cat "$scratch/mksquashfs.log" >&2 && die "mksquashfs failed: its messages are above"; }
    mv "$scratch/image" "$out"
}

build_version() {
    local dir name VERSION='' TREE='' SUITES=''
    dir=$(cd "$1" 2>/dev/null && pwd) || die "there is no folder $1"
    name=$(basename "$dir")
    # shellcheck source=/dev/null
    . "$dir/image.conf"
    [[ $VERSION && $TREE && $SUITES ]] || die "$dir/image.conf must set VERSION, TREE and SUITES"

    local suites=() pocket
    for pocket in $SUITES; do suites+=("${codename}${pocket#base}"); done
    local tree_key tree
    tree_key=$(printf '%s %s %s\n' "$(hash_files "$here" strip-tree.sh)-$(hash_files "$here/.." apt-sources.awk)" "$epoch" "${suites[*]}" |
        sha256sum | cut -c1-16)
    tree=$cache/tree-$TREE-$tree_key.tar
    local key
    key=$(printf '%s %s %s %s\n' "$tree_key" "$VERSION" "$(hash_files "$here" build.sh common.sh overlay)" "$(hash_files "$dir" .)" |
        sha256sum | cut -c1-16)
    local image=$cache/$name-$key.squashfs
    if [[ ! -e $image ]]; then
        if [[ ! -e $tree ]]; then
            say "building a Debian tree from: ${suites[*]} (once; about half a minute)"
            debian_tree "$tree" "${suites[*]}" --variant=minbase --customize-hook="$here/strip-tree.sh"
        fi
        build_image "$tree" "$dir" "$VERSION" "$image"
        find "$cache" -maxdepth 1 -name "$name-????????????????.squashfs" ! -path "$image" -delete
        say "$name: version $VERSION, $(($(stat -c %s "$image") / 1000000)) MB"
    fi
    ln -sfn "$(basename "$image")" "$cache/$name.squashfs"
    printf '%s\n' "$image"
}

(($#)) || set -- "$here"/versions/*
for dir in "$@"; do build_version "$dir"; done
