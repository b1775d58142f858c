#!/usr/bin/env bash
# Make what a real terminal boots: its root filesystem (the payload of a release), and the disk that it leaves the workshop with.
#
#   images/terminal/machine/build.sh [VERSION_DIR…]            root filesystems: target/images/NAME.squashfs
#   images/terminal/machine/build.sh --disk VERSION_DIR        that one, and target/images/terminal.disk with it in slot A
#   images/terminal/machine/build.sh --version 2.4.0 [--disk]  the same with this version, without a folder
#   images/terminal/machine/build.sh --fresh …                 with the packages that the mirror has today
#
# A VERSION_DIR holds image.conf (VERSION) and, if wanted, overlay/. The programs come from target/debug ('make build').
# Beside each result lie its package list (.packages) and its SBOM (.cdx.json, CycloneDX); all paths are printed. Needs root,
# but no mounts, no loop devices and no KVM. Reproducible: the same packages and programs give the same bytes.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../../.." && pwd)
# shellcheck source=images/terminal/common.sh
. "$here/../common.sh"
suites="$codename $codename-updates $codename-security"
programs=${FILIAL_PROGRAMS:-$repository/target/debug}

# Sizes of the disk's partitions, in MiB.
ESP_MIB=32
SLOT_MIB=${SLOT_MIB:-384}
DATA_MIB=${DATA_MIB:-1024}

# What GRUB can do, and no more: read the disk, its script and the boot state, start a kernel, restart.
grub_modules='memdisk tar part_gpt fat squash4 loadenv regexp test echo normal linux boot sleep reboot configfile hashsum gcry_sha256'

# The package tree: Debian, the kernel with its initramfs, no word of ours in it that differs between versions. It is kept, so
# that versions differ by what is ours alone, until --fresh asks for the mirror's packages of today.
package_tree() {
    local include key
    include=$(sed -e 's/#.*//' "$here/packages" | tr -s ' \n' ',,' | sed -e 's/^,*//' -e 's/,*$//')
    key=$(printf '%s %s\n' "$(hash_files "$here" packages modules strip-tree.sh ids.sh initramfs)" "$(hash_files "$here/.." common.sh strip-tree.sh)" |
        sha256sum | cut -c1-16)
    tree=$cache/machine-$key
    [[ $fresh || ! -e $tree.tar || ! -e $tree.sha256 ]] || return 0
    say "building a terminal's Debian tree, with kernel and initramfs (about a minute and a half)"
    debian_tree "$tree.tar.new" "$suites" --variant=apt --aptopt='Apt::Install-Recommends "false"' --include="$include" \
        --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr --essential-hook="$here/ids.sh" \
        --customize-hook="$here/../strip-tree.sh" --customize-hook="$here/strip-tree.sh"
    find "$cache" -maxdepth 1 \( -name 'machine-????????????????.tar' -o -name 'machine-????????????????.sha256' \) -delete
    mv "$tree.tar.new" "$tree.tar"
    sha256sum <"$tree.tar" >"$scratch/tree.sha256"
    mv "$scratch/tree.sha256" "$tree.sha256"
}

# Our programs and units in the tree $1.
install_programs() {
    local root=$1 dist=$repository/terminal-agent/dist program unit
    for program in terminal-agent terminal-helper; do
        [[ -x $programs/$program ]] || die "$programs/$program is missing: run 'make build'"
        strip -o "$root/usr/bin/$program" "$programs/$program"
        chmod 0755 "$root/usr/bin/$program"
    done
    for unit in "$dist"/*.service "$dist"/*.socket "$dist"/*.timer; do
        install -m 0644 "$unit" "$root/usr/lib/systemd/system/"
    done
    install -D -m 0644 "$dist/terminal-watchdog.conf" "$root/etc/systemd/system.conf.d/terminal-watchdog.conf"
    install -D -m 0644 "$dist/terminal-slots.rules" "$root/etc/udev/rules.d/65-filial-slots.rules"
    install -D -m 0644 "$dist/terminal-agent.sysusers" "$root/usr/lib/sysusers.d/terminal-agent.conf"
    install -D -m 0644 "$dist/terminal-agent.tmpfiles" "$root/usr/lib/tmpfiles.d/terminal-agent.conf"
}

# The tree with everything of ours in it, as a folder at $1.
lay_out() {
    local root=$1 dir=$2 version=$3
    mkdir "$root"
    tar -xf "$tree.tar" -C "$root" --exclude='./dev/*'
    install_programs "$root"
    cp -r --no-preserve=ownership "$here/overlay/." "$root/"
    cp -r --no-preserve=ownership "$here/../overlay/." "$root/"
    systemd-sysusers --root="$root" >/dev/null 2>&1
    systemctl --root="$root" --quiet enable terminal-agent.service terminal-helper.socket terminal-trial.timer \
        terminal-provision.service transmission-daemon.service systemd-networkd.service
    systemctl --root="$root" --quiet disable systemd-networkd-wait-online.service getty@tty1.service
    systemctl --root="$root" --quiet mask systemd-firstboot.service systemd-machine-id-commit.service \
        systemd-update-utmp.service systemd-update-utmp-runlevel.service serial-getty@ttyS0.service getty.target \
        ldconfig.service systemd-update-done.service systemd-hwdb-update.service systemd-journal-catalog-update.service
    ln -sf /etc/machine-id "$root/var/lib/dbus/machine-id"
    # The version's own files last: they may stand in the place of anything.
    if [[ -d ${dir:-}/overlay ]]; then cp -r --no-preserve=ownership --remove-destination "$dir/overlay/." "$root/"; fi
    cat "$root/usr/lib/os-release" - >"$root/etc/os-release" <<<$'IMAGE_ID=filial-terminal\n'"IMAGE_VERSION=$version"
    # A clock that shows less is not believed, such as one without a battery.
    printf '\n[trust]\nnot_before = "%s"\n' "$(date -u -d "@$epoch" +%FT%TZ)" >>"$root/etc/terminal-agent/terminal-agent.toml"
    # The builder's umask and clock are not the terminal's.
    chmod -R go-w "$root/etc" "$root/usr"
    chmod 0755 "$root"/etc/terminal-agent/health.d/* "$root/usr/lib/filial/provision"
    # The bootloader looks before it starts them.
    (cd "$root" && sha256sum boot/vmlinuz boot/initrd.img >boot/sha256sums)
    rm -f "$root"/etc/*- "$root/etc/.pwd.lock" "$root/etc/systemd/system/dbus-org.freedesktop.network1.service"
}

# The root filesystem $1 of version $2, named $3, with the overlay of the folder $4 if there is one.
build_slot() {
    local out=$1 version=$2 name=$3 dir=${4:-}
    local root=$scratch/root
    rm -rf --one-file-system "$root"
    lay_out "$root" "$dir" "$version"
    rm -f "$scratch/squashfs"
    mksquashfs "$root" "$scratch/squashfs" "${squashfs_options[@]}" >"$scratch/mksquashfs.log" 2>&1 ||
        { cat "$scratch/mksquashfs.log" >&2 && die "mksquashfs failed: its messages are above"; }
    "$here/sbom.py" --root "$root" --lock "$repository/Cargo.lock" --name filial-terminal --version "$version" \
        --packages "$out.packages" --sbom "$out.cdx.json"
    mv "$scratch/squashfs" "$out"
    say "$name: version $version, $(($(stat -c %s "$out") / 1000000)) MB, $(wc -l <"$out.packages") packages"
}

# Cached by all that goes into it. Sets $slot.
slot_of() {
    local name=$1 version=$2 dir=${3:-} key
    key=$(printf '%s ' "$(cat "$tree.sha256")" "$version" "$(hash_files "$here" build.sh sbom.py overlay)" "$(hash_files "$here/.." overlay common.sh)" \
        "$(hash_files "$repository/terminal-agent" dist)" "$(sha256sum <"$programs/terminal-agent")" "$(sha256sum <"$programs/terminal-helper")" \
        "$([[ -z $dir ]] || hash_files "$dir" .)" | sha256sum | cut -c1-16)
    slot=$cache/$name-$key.squashfs
    if [[ ! -e $slot ]]; then
        build_slot "$slot" "$version" "$name" "$dir"
        find "$cache" -maxdepth 1 -name "$name-????????????????.squashfs*" ! -name "$name-$key.*" -delete
    fi
    ln -sfn "$(basename "$slot")" "$cache/$name.squashfs"
    printf '%s\n' "$slot" "$slot.packages" "$slot.cdx.json"
}

# The EFI system partition at $1: GRUB with its scripts in one file, and the boot state, A confirmed.
build_esp() {
    local esp=$1 work=$scratch/esp
    mkdir -p "$work/EFI/BOOT" "$work/filial"
    # grub-mkstandalone would write the present time into its archive, so the archive is made here.
    mkdir -p "$scratch/memdisk/boot/grub"
    cp "$here/boot/header.cfg" "$scratch/memdisk/boot/grub/grub.cfg"
    cp "$repository/crates/bootslot/scripts/grub.cfg" "$scratch/memdisk/boot/grub/filial.cfg"
    tar -C "$scratch/memdisk" --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX --format=ustar \
        -cf "$scratch/memdisk.tar" boot
    # shellcheck disable=SC2086 # a list of words
    grub-mkimage --format=x86_64-efi --output="$work/EFI/BOOT/BOOTX64.EFI" --memdisk="$scratch/memdisk.tar" \
        --prefix='(memdisk)/boot/grub' $grub_modules
    grub-editenv "$work/filial/grubenv" create
    grub-editenv "$work/filial/grubenv" set filial_default=A filial_trial= filial_trial_left=0
    find "$work" -exec touch -h -d "@$epoch" {} +
    truncate -s "${ESP_MIB}M" "$esp"
    SOURCE_DATE_EPOCH=$epoch mkfs.vfat --invariant -F 16 -n ESP "$esp" >/dev/null
    # MTOOLS: the partition's own length counts, not a floppy's geometry.
    (cd "$work" && MTOOLS_SKIP_CHECK=1 SOURCE_DATE_EPOCH=$epoch mcopy -i "$esp" -s -m EFI filial ::)
}

# The whole disk with $slot in slot A: GPT, EFI system partition, two slots, data.
build_disk() {
    local out=$1 disk=$scratch/disk at
    (($(stat -c %s "$slot") <= SLOT_MIB << 20)) ||
        die "the image has $(stat -c %s "$slot") bytes and a slot $((SLOT_MIB << 20)): set SLOT_MIB higher"
    build_esp "$scratch/esp.img"
    truncate -s "${DATA_MIB}M" "$scratch/data.img"
    E2FSPROGS_FAKE_TIME=$epoch SOURCE_DATE_EPOCH=$epoch mke2fs -q -t ext4 -m 0 -L data \
        -U 6f1a7c1e-7d0c-4b43-9a55-5f111a100004 -E "hash_seed=6f1a7c1e-7d0c-4b43-9a55-5f111a100005,lazy_itable_init=0,root_owner=0:0" \
        "$scratch/data.img"
    truncate -s "$((1 + ESP_MIB + 2 * SLOT_MIB + DATA_MIB + 1))M" "$disk"
    sfdisk --quiet "$disk" <<EOF
label: gpt
label-id: 6f1a7c1e-7d0c-4b43-9a55-5f111a100000
first-lba: 2048
start=1MiB, size=${ESP_MIB}MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=esp, uuid=6f1a7c1e-7d0c-4b43-9a55-5f111a100001
size=${SLOT_MIB}MiB, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name=slot-a, uuid=6f1a7c1e-7d0c-4b43-9a55-5f111a100002
size=${SLOT_MIB}MiB, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name=slot-b, uuid=6f1a7c1e-7d0c-4b43-9a55-5f111a100003
size=${DATA_MIB}MiB, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name=data, uuid=6f1a7c1e-7d0c-4b43-9a55-5f111a100006
EOF
    at=1
    put() {
        dd if="$1" of="$disk" bs=1M seek="$at" conv=sparse,notrunc status=none
        at=$((at + $2))
    }
    put "$scratch/esp.img" "$ESP_MIB"
    put "$slot" $((2 * SLOT_MIB))
    put "$scratch/data.img" "$DATA_MIB"
    mv "$disk" "$out"
}

disk_of() {
    local key
    key=$(printf '%s ' "$(basename "$slot")" "$ESP_MIB $SLOT_MIB $DATA_MIB" "$(hash_files "$here" build.sh boot)" \
        "$(sha256sum <"$repository/crates/bootslot/scripts/grub.cfg")" | sha256sum | cut -c1-16)
    local disk=$cache/terminal-$key.disk
    if [[ ! -e $disk ]]; then
        build_disk "$disk"
        find "$cache" -maxdepth 1 -name 'terminal-????????????????.disk' ! -path "$disk" -delete
        say "terminal.disk: $(($(stat -c %s "$disk") / 1000000)) MB, $(($(du -B1 "$disk" | cut -f1) / 1000000)) MB used, sha256 $(sha256sum <"$disk" | cut -d' ' -f1)"
    fi
    ln -sfn "$(basename "$disk")" "$cache/terminal.disk"
    printf '%s\n' "$disk"
}

disk='' version='' fresh='' dirs=()
while (($#)); do
    case $1 in
        --disk) disk=1 ;;
        --fresh) fresh=1 ;;
        --version) version=${2:?"--version needs a version, such as 2.4.0"} && shift ;;
        -h | --help) sed -n '2,/^set -/{s/^# \{0,1\}//;/^set -/d;p}' "$0" && exit 0 ;;
        -*) die "there is no option $1: see --help" ;;
        *) dirs+=("$1") ;;
    esac
    shift
done
[[ $(id -u) = 0 ]] || die "only root can make a tree with its owners; run it as root"
need mmdebstrap mksquashfs tar sha256sum flock apt-config strip grub-mkimage grub-editenv mkfs.vfat mcopy sfdisk mke2fs depmod systemctl systemd-sysusers
open_cache "$repository/target/images" machine
package_tree
if [[ $version ]]; then
    slot_of "terminal-$version" "$version"
else
    ((${#dirs[@]})) || dirs=("$here"/versions/*)
    for dir in "${dirs[@]}"; do
        [[ -d $dir ]] || die "there is no folder $dir: name one with an image.conf in it, as in images/terminal/machine/versions"
        dir=$(cd "$dir" && pwd)
        VERSION=''
        # shellcheck source=/dev/null
        . "$dir/image.conf"
        [[ $VERSION ]] || die "$dir/image.conf must set VERSION"
        slot_of "$(basename "$dir")" "$VERSION" "$dir"
    done
fi
[[ -z $disk ]] || disk_of
