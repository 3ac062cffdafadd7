#!/usr/bin/env bash
# Makes the root file system of guests: the base, the guest agent, and what you add. No loop device and, with fakeroot, no
# root is needed. Then has the host agent's image store take kernel, initramfs and root file system as one image.
#
# usage: fc-bake-rootfs.sh [--name NAME] [--size SIZE] [--overlay DIRECTORY] [--fused FILE] [--no-import]
#
# --name      the image's name (default: default)
# --size      the size of the root file system (default: $FC_ROOTFS_SIZE, else 2G); VMs can have larger disks
# --overlay   a directory whose content is copied over the root file system
# --fused     the guest agent (default: the one that is installed, else built with build-fused.sh)
# The root file system goes to $FC_DIR/rootfs-NAME.ext4. Nothing is done when it is there, made of the same things.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=host-agent/scripts/lib.sh
source "$here/lib.sh"

name=default size=${FC_ROOTFS_SIZE:-2G} overlay='' fused='' import=1
while [ $# -gt 0 ]; do
    case $1 in
    --name) name=$2; shift 2 ;;
    --size) size=$2; shift 2 ;;
    --overlay) overlay=$2; shift 2 ;;
    --fused) fused=$2; shift 2 ;;
    --no-import) import=; shift ;;
    *) die "unknown option $1" ;;
    esac
done
[[ $name =~ ^[a-z0-9][a-z0-9._-]{0,62}$ ]] || die "$name: an image's name has a-z, 0-9, dot, dash and underscore"
base=$FC_DIR/base-$FUSE_SUITE-$(architecture).tar
checked "$FC_DIR" "$(basename "$base")" || die "$base is not there, or not what it was; fc-install.sh makes it"
[ -z "$overlay" ] || [ -d "$overlay" ] || die "$overlay is no directory"
need mke2fs e2fsprogs
fused=${fused:-$(find_fused "$here")}
rootfs=$FC_DIR/rootfs-$name.ext4

# overlay_digest: names, modes and contents.
overlay_digest() {
    [ -n "$overlay" ] || return 0
    (cd "$overlay" && find . -printf '%p %m %l\n' | LC_ALL=C sort && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum)
}
made_of=$({
    echo "$size"
    grep -F "  $(basename "$base")" "$FC_DIR/SHA256SUMS"
    sha256sum <"$fused"
    overlay_digest
    sha256sum <"${BASH_SOURCE[0]}"
} | sha256sum | cut -d' ' -f1)

# Runs as root or as one who looks like root: in one process, so that fakeroot remembers who owns what.
bake() {
    set -euo pipefail
    mkdir "$work/root"
    tar -xpf "$base" -C "$work/root" --numeric-owner
    install -D -m 755 "$fused" "$work/root/usr/local/bin/fused"
    install -d -m 700 "$work/root/fuse"
    install -d -m 755 "$work/root/workspace"
    if [ -d "$work/root/etc/systemd/system" ]; then
        install -D -m 644 "$here/../systemd/fused.service" "$work/root/etc/systemd/system/fused.service"
        mkdir -p "$work/root/etc/systemd/system/multi-user.target.wants"
        ln -sf ../fused.service "$work/root/etc/systemd/system/multi-user.target.wants/fused.service"
    fi
    [ -z "$overlay" ] || cp -a --no-preserve=ownership "$overlay/." "$work/root/"
    mke2fs -q -t ext4 -L fuse-root -m 0 -E root_owner=0:0,lazy_itable_init=0 -d "$work/root" "$work/rootfs.ext4" "$size"
}

if [ "$(cat "$rootfs.made-of" 2>/dev/null)" = "$made_of" ] && [ -f "$rootfs" ]; then
    say "$rootfs: there already"
else
    say "$rootfs: making it"
    work=$(mktemp -d -p "$FC_DIR")
    trap 'rm -rf "$work"' EXIT
    if [ "$(id -u)" = 0 ]; then
        bake
    else
        need fakeroot fakeroot
        export work base fused overlay size here
        # The shell that fakeroot is written in drops functions that are exported.
        fakeroot bash -c "$(declare -f bake); bake"
    fi
    # The exit code of e2fsck counts: 0 is clean, anything else is not a root file system to boot from.
    e2fsck -fn "$work/rootfs.ext4" >/dev/null 2>&1 || die "the root file system that was made is not clean"
    mv "$work/rootfs.ext4" "$rootfs"
    echo "$made_of" >"$rootfs.made-of"
    say "$rootfs: made"
fi

if [ -n "$import" ]; then
    fuse=$(command -v "${FUSE_BIN:-fuse}" || true)
    [ -n "$fuse" ] || die "the program fuse is not there, so the image is not imported; install it, or use --no-import"
    "$fuse" image import --data "$FUSE_DATA" --name "$name" --kernel "$FC_DIR/boot/vmlinux" \
        --initrd "$FC_DIR/boot/initramfs.cpio" --rootfs "$rootfs" --replace >&2
fi
