#!/bin/bash
# Builds the terminal's disk a second time from nothing and compares the bytes; prints its size, packages and SBOM.
#
#   tests/checks/image_twice.sh            needs root, and what 'make vm-images' made
#
# If the mirror has newer packages than 'make vm-images' used, the first disk is rebuilt before the comparison.
set -euo pipefail
cd "$(dirname "$0")/../.."

die() {
    printf 'image_twice: %s\n' "$*" >&2
    exit 1
}

version=images/terminal/machine/versions/vm-v1
first=target/images second=target/images-again
[[ -e $first/terminal.disk ]] || die "$first/terminal.disk is missing: run 'make vm-images' first"
rm -rf "$second"
trap 'rm -rf "$second"' EXIT
trap 'exit 130' INT TERM

digest() { sha256sum <"$1/$2" | cut -d' ' -f1; }
list() { cat "$(readlink -f "$1/vm-v1.squashfs").packages"; }

began=$SECONDS
FILIAL_IMAGES_CACHE=$second images/terminal/machine/build.sh --disk "$version" >/dev/null
echo "image_twice: built from nothing in $((SECONDS - began)) s"
began=$SECONDS
FILIAL_IMAGES_CACHE=$second images/terminal/machine/build.sh --disk "$version" >/dev/null
echo "image_twice: found up to date in $((SECONDS - began)) s"
if ! diff <(list "$first") <(list "$second") >/dev/null; then
    echo "image_twice: the mirror has newer packages; rebuilding the first disk"
    images/terminal/machine/build.sh --fresh --disk "$version" >/dev/null
fi
for file in vm-v1.squashfs terminal.disk; do
    [[ $(digest "$first" "$file") = $(digest "$second" "$file") ]] ||
        die "$file differs between two builds: $(digest "$first" "$file") and $(digest "$second" "$file"); \
compare both trees with unsquashfs -lln"
done

image=$(readlink -f "$first/vm-v1.squashfs")
echo "image_twice: the same bytes twice: disk sha256 $(digest "$first" terminal.disk), slot sha256 $(digest "$first" vm-v1.squashfs)"
echo "image_twice: slot $(($(stat -c %s "$image") / 1000000)) MB; disk $(($(du -B1 "$(readlink -f "$first/terminal.disk")" | cut -f1) / 1000000)) MB used;" \
    "SBOM $image.cdx.json; $(wc -l <"$image.packages") packages:"
column -c 120 "$image.packages" 2>/dev/null || cat "$image.packages"
