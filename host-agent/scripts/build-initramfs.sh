#!/usr/bin/env bash
# Makes a kernel and an initramfs for guests out of Debian packages. Root is not needed.
#
#   build-initramfs.sh [--fused FILE] [--packages DIRECTORY] DIRECTORY
#
# DIRECTORY gets: vmlinux (the cloud kernel, uncompressed), initramfs.cpio (the guest agent as /init, busybox, the
# modules of virtio), kernel-version, and SHA256SUMS of them. What is there already, made of the same things, is left alone.
# --fused      the guest agent (default: the one that is installed, else built with build-fused.sh)
# --packages   a directory that has, or gets, the .deb files (default: DIRECTORY/packages); with FUSE_MIRROR they come from
#              $FUSE_MIRROR/debian instead of the network
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=host-agent/scripts/lib.sh
source "$here/lib.sh"

fused='' packages='' out=''
while [ $# -gt 0 ]; do
    case $1 in
    --fused) fused=$2; shift 2 ;;
    --packages) packages=$2; shift 2 ;;
    -*) die "unknown option $1" ;;
    *) out=$1; shift ;;
    esac
done
[ -n "$out" ] || die "usage: build-initramfs.sh [--fused FILE] [--packages DIRECTORY] DIRECTORY"
mkdir -p "$out"
out=$(cd "$out" && pwd)
packages=${packages:-$out/packages}
need cpio cpio
need dpkg-deb dpkg
need python3 python3
fused=${fused:-$(find_fused "$here")}
[ -x "$fused" ] || die "$fused: no guest agent there; host-agent/scripts/build-fused.sh builds it"

# The modules, each after those that it needs; a name that the kernel has built in is left out.
modules=(virtio_ring virtio virtio_mmio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci
    failover net_failover virtio_blk virtio_net virtio_console rng-core virtio-rng
    vsock vmw_vsock_virtio_transport_common vmw_vsock_virtio_transport vsock_loopback overlay)

fetch_kernel "$packages"
busybox_package=$(fetch_package "$packages" busybox-static)
kernel=$(kernel_package "$packages")

made_of=$(cat "$fused" "$busybox_package" "$kernel" "${BASH_SOURCE[0]}" | sha256sum | cut -d' ' -f1)
if [ "$(cat "$out/made-of" 2>/dev/null)" = "$made_of" ] && (cd "$out" && sha256sum --quiet -c SHA256SUMS 2>/dev/null); then
    say "$out: kernel and initramfs are there already"
    exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
dpkg-deb -x "$kernel" "$work/kernel"
dpkg-deb -x "$busybox_package" "$work/busybox"
version=$(basename "$(echo "$work"/kernel/boot/vmlinuz-*)" | sed 's/^vmlinuz-//')

"$here/extract-vmlinux.py" "$work/kernel/boot/vmlinuz-$version" "$work/vmlinux"

root=$work/root
mkdir -p "$root"/{bin,dev,etc,lib/modules/fuse,newroot,proc,root,run,sys,tmp}
install -m 755 "$fused" "$root/init"
for busybox in "$work/busybox/bin/busybox" "$work/busybox/usr/bin/busybox"; do
    [ ! -f "$busybox" ] || install -m 755 "$busybox" "$root/bin/busybox"
done
applets=$("$root/bin/busybox" --list)
for applet in $applets; do
    [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
done
[ -e "$root/bin/sh" ] || die "$busybox_package: this busybox has no shell"
# Debian's busybox has no pkill, and drain commands want one.
[ -e "$root/bin/pkill" ] || install -m 755 /dev/stdin "$root/bin/pkill" <<<$'#!/bin/sh\nexec killall "$@"'
printf 'root:x:0:0:root:/root:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\ntty:x:5:\n' >"$root/etc/group"
for module in "${modules[@]}"; do
    file=$(find "$work/kernel/lib/modules/$version/kernel" -name "$module.ko" | head -1)
    [ -n "$file" ] || continue
    install -m 644 "$file" "$root/lib/modules/fuse/$module.ko"
    echo "$module" >>"$root/lib/modules/fuse/order"
done

# The same content gives the same bytes.
find "$root" -exec touch -h -d @0 {} +
(cd "$root" && find . -print0 | LC_ALL=C sort -z | cpio --null --quiet -o -H newc -R 0:0 --reproducible) >"$work/initramfs.cpio"
# Whole pages: QEMU's microvm leaves its ACPI tables what is behind an initramfs in its last page.
truncate -s %4096 "$work/initramfs.cpio"

for file in vmlinux initramfs.cpio; do
    install -m 644 "$work/$file" "$out/.$file.new"
    mv "$out/.$file.new" "$out/$file"
done
echo "$version" >"$out/kernel-version"
(cd "$out" && sha256sum vmlinux initramfs.cpio kernel-version >SHA256SUMS)
echo "$made_of" >"$out/made-of"
say "$out: kernel $version and initramfs made ($(du -h "$out/initramfs.cpio" | cut -f1))"
