#!/usr/bin/env bash
# Fills a directory with everything that the other scripts would fetch, for hosts without a network (FUSE_MIRROR).
#
# usage: fc-mirror.sh [--firecracker-from DIRECTORY] DIRECTORY
#
#   DIRECTORY/debian/*.deb, SHA256SUMS               the cloud kernel, busybox, and what fc-deps.sh installs
#   DIRECTORY/rootfs/base-SUITE-ARCH.tar, SHA256SUMS the base root file system
#   DIRECTORY/firecracker/firecracker-VERSION-MACHINE.tgz and .tgz.sha256.txt, as the release has them
#
# --firecracker-from   a directory with the programs firecracker and jailer, instead of the release
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=host-agent/scripts/lib.sh
source "$here/lib.sh"

from='' out=''
while [ $# -gt 0 ]; do
    case $1 in
    --firecracker-from) from=$2; shift 2 ;;
    -*) die "unknown option $1" ;;
    *) out=$1; shift ;;
    esac
done
[ -n "$out" ] || die "usage: fc-mirror.sh [--firecracker-from DIRECTORY] DIRECTORY"
[ -z "$FUSE_MIRROR" ] || die "FUSE_MIRROR is set; a mirror is filled from the network"
mkdir -p "$out"/{debian,rootfs,firecracker}
out=$(cd "$out" && pwd)

fetch_kernel "$out/debian"
for package in busybox-static $("$here/fc-deps.sh" --list); do
    fetch_package "$out/debian" "$package" >/dev/null
done
(cd "$out/debian" && sha256sum -- *.deb >SHA256SUMS)

base=base-$FUSE_SUITE-$(architecture).tar
packages=${FC_ROOTFS_PACKAGES:-}
if ! checked "$out/rootfs" "$base" || [ "$(cat "$out/rootfs/packages" 2>/dev/null)" != "$packages" ]; then
    "$here/fc-base.sh" "$out/rootfs/$base.new"
    mv "$out/rootfs/$base.new" "$out/rootfs/$base"
    echo "$packages" >"$out/rootfs/packages"
    (cd "$out/rootfs" && sha256sum "$base" >SHA256SUMS)
fi

name=firecracker-$FC_VERSION-$(machine)
if ! (cd "$out/firecracker" && sha256sum --quiet -c "$name.tgz.sha256.txt" >/dev/null 2>&1); then
    if [ -n "$from" ]; then
        work=$(mktemp -d)
        trap 'rm -rf "$work"' EXIT
        for program in firecracker jailer; do
            install -D -m 755 "$from/$program" "$work/release-$FC_VERSION-$(machine)/$program-$FC_VERSION-$(machine)"
        done
        tar -C "$work" --sort=name --mtime=@0 --owner=0 --group=0 -czf "$out/firecracker/$name.tgz" "release-$FC_VERSION-$(machine)"
        (cd "$out/firecracker" && sha256sum "$name.tgz" >"$name.tgz.sha256.txt")
    else
        need curl curl
        for file in "$name.tgz" "$name.tgz.sha256.txt"; do
            curl -fsSL --proto '=https' --retry 3 -o "$out/firecracker/$file" \
                "https://github.com/firecracker-microvm/firecracker/releases/download/$FC_VERSION/$file"
        done
        (cd "$out/firecracker" && sha256sum --quiet -c "$name.tgz.sha256.txt")
    fi
fi
say "$out: the mirror is complete ($(du -sh "$out" | cut -f1))"
