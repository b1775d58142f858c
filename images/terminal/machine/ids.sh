#!/bin/sh
# mmdebstrap runs this before packages are installed: the users whose files lie on the data partition have the same numbers
# in every image that will ever be made.
set -eu
root=$1
add() { chroot "$root" useradd --system --no-create-home --uid "$2" --user-group --home-dir "$3" --shell /usr/sbin/nologin "$1"; }
add debian-transmission 961 /var/lib/transmission
add terminal-agent 962 /var/lib/terminal-agent
chroot "$root" groupadd --system --gid 963 filial-artifacts
chroot "$root" groupadd --system --gid 964 systemd-journal
chroot "$root" usermod --append --groups filial-artifacts debian-transmission
chroot "$root" usermod --append --groups filial-artifacts terminal-agent
