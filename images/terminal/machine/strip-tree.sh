#!/bin/sh
# mmdebstrap runs this with the tree's root, after ../strip-tree.sh: makes a package tree that can be a slot. The slot is
# read-only: what is written lies on the data partition or in memory, and is mounted where fstab says.
set -eu
root=$1
here=$(cd "$(dirname "$0")" && pwd)

# --- the kernel, with the modules that are listed and what those need
kernel=$(basename "$root"/usr/lib/modules/*)
tree=$root/usr/lib/modules/$kernel
kept=$(mktemp)
grep -v '^#' "$here/modules" | while read -r pattern; do
    [ -n "$pattern" ] || continue
    # shellcheck disable=SC2086 # a pattern is there to be expanded
    (cd "$tree/kernel" && find $pattern -name '*.ko' 2>/dev/null) || true
done | sort -u | sed 's|^|kernel/|' >"$kept"
# modules.dep has a line for each module: itself, and all that it needs.
awk -v kept="$kept" 'BEGIN { while ((getline line < kept) > 0) want[line] = 1 }
    { name = $1; sub(/:$/, "", name); if (name in want) { print name; for (i = 2; i <= NF; i++) print $i } }' \
    "$tree/modules.dep" | sort -u >"$kept.all"
(cd "$tree" && find kernel -name '*.ko' | sort) | comm -23 - "$kept.all" | while read -r module; do
    rm -f "$tree/$module"
done
rm -f "$kept" "$kept.all"
find "$tree/kernel" -type d -empty -delete
depmod -b "$root" "$kernel"

# --- the initramfs, uncompressed like everything in a slot
cp "$here/initramfs/modules" "$root/etc/initramfs-tools/modules"
install -m 0644 "$here/initramfs/modprobe.conf" "$root/etc/modprobe.d/filial-watchdog.conf"
install -m 0755 "$here/initramfs/hook" "$root/etc/initramfs-tools/hooks/filial"
install -m 0755 "$here/initramfs/filial" "$root/etc/initramfs-tools/scripts/local-bottom/filial"
sed -i -e 's/^MODULES=.*/MODULES=list/' -e 's/^COMPRESS=.*/COMPRESS=gzip/' "$root/etc/initramfs-tools/initramfs.conf"
echo RESUME=none >"$root/etc/initramfs-tools/conf.d/resume"
chroot "$root" mkinitramfs -o /boot/initrd.gz "$kernel"
gzip -dc "$root/boot/initrd.gz" >"$root/boot/initrd.img"
rm -f "$root/boot/initrd.gz" "$root"/boot/initrd.img-* "$root"/boot/System.map-* "$root"/boot/config-* "$root"/initrd.img* "$root"/vmlinuz*
mv "$root"/boot/vmlinuz-* "$root/boot/vmlinuz"

# --- what a terminal has no use for
# Of the hardware database its rules stay, and names of vendors and models, nine parts in ten of it, go.
rm -f "$root"/usr/lib/udev/hwdb.d/20-*
chroot "$root" systemd-hwdb --usr update
rm -rf "$root/usr/lib/udev/hwdb.d" "$root/usr/share/doc" "$root/usr/share/man" "$root/usr/share/info" "$root/usr/share/locale"
rm -rf "$root/usr/lib/x86_64-linux-gnu/gconv" "$root/var/lib/initramfs-tools"
# Hardly any text here is anything but UTF-8; the C library knows that one by itself.
rm -rf "$root/usr/share/i18n"
# Nothing is installed here by anybody but an update.
rm -rf "$root"/etc/init.d "$root"/etc/rc?.d
rm -f "$root"/etc/cron.*/* "$root"/usr/lib/systemd/system/apt-daily* "$root"/usr/lib/systemd/system/dpkg-db-backup*
find "$root/etc/systemd/system" -name 'apt-daily*' -delete -o -name 'dpkg-db-backup*' -delete -o -name 'fstrim*' -delete -o -name 'e2scrub*' -delete

# --- where things are mounted
mkdir -p "$root/data" "$root/boot/efi" "$root/var/log/journal"
for folder in terminal-agent terminal-helper filial-boots filial-provision filial-artifacts transmission systemd; do
    mkdir -p "$root/var/lib/$folder"
done
: >"$root/etc/machine-id"
ln -sf ../run/systemd/resolve/resolv.conf "$root/etc/resolv.conf"
