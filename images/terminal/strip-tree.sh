#!/bin/sh
# mmdebstrap runs this with the tree's root: drop what a read-only image does not need, and what the builder left in it.
set -eu
root=$1

# Of the builder, not of the terminal: its resolver, its name, its mirror. And what differs from build to build.
rm -f "$root/etc/resolv.conf" "$root/etc/hostname" "$root/etc/apt/sources.list" "$root/etc/machine-id"
rm -rf "$root/etc/apt/sources.list.d" "$root/var/lib/apt/lists" "$root/var/cache/apt" "$root/var/cache/debconf"
rm -f "$root/var/cache/ldconfig/aux-cache" "$root"/var/lib/dpkg/*-old
find "$root/var/log" -type f -delete
find "$root" -xdev -name '*.pyc' -delete
find "$root" -xdev -name __pycache__ -type d -prune -exec rm -rf {} +
# Each image brings its own, with IMAGE_VERSION, as the last file: what differs between versions stays in one place.
rm -f "$root/etc/os-release"
mkdir -p "$root/etc/terminal-agent/health.d"
