#!/usr/bin/env bash
# Installs what VMs are made of: Firecracker and its jailer, a kernel with an initramfs, a base root file system. Each step
# is left out when its result is there and is what it should be.
#
# usage: fc-install.sh [--no-firecracker] [--no-rootfs] [--fused FILE]
#
# Firecracker comes from its release, checked with the release's own checksum; the kernel and the root file system from
# Debian's signed packages. With FUSE_MIRROR all of it comes from there. Only installing below /usr/local needs root.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=host-agent/scripts/lib.sh
source "$here/lib.sh"

firecracker=1 rootfs=1 fused=()
while [ $# -gt 0 ]; do
    case $1 in
    --no-firecracker) firecracker=; shift ;;
    --no-rootfs) rootfs=; shift ;;
    --fused) fused=(--fused "$2"); shift 2 ;;
    *) die "unknown option $1" ;;
    esac
done
bin=$FUSE_ROOT/usr/local/bin
release=https://github.com/firecracker-microvm/firecracker/releases/download

install_firecracker() {
    local name work
    name=firecracker-$FC_VERSION-$(machine)
    if [ -f "$FC_DIR/firecracker.sha256" ] && [ "$(head -1 "$FC_DIR/firecracker.sha256")" = "# $name" ] &&
        sha256sum --quiet -c "$FC_DIR/firecracker.sha256" >/dev/null 2>&1; then
        say "firecracker $FC_VERSION: there already"
        return
    fi
    work=$(mktemp -d)
    # shellcheck disable=SC2064 # The directory is known now.
    trap "rm -rf '$work'" RETURN
    if [ -n "$FUSE_MIRROR" ]; then
        [ -f "$FUSE_MIRROR/firecracker/$name.tgz" ] || die "$FUSE_MIRROR/firecracker has no $name.tgz; fc-mirror.sh fills a mirror"
        cp "$FUSE_MIRROR/firecracker/$name.tgz" "$FUSE_MIRROR/firecracker/$name.tgz.sha256.txt" "$work/"
    else
        need curl curl
        say "firecracker $FC_VERSION: fetching"
        for file in "$name.tgz" "$name.tgz.sha256.txt"; do
            curl -fsSL --proto '=https' --retry 3 -o "$work/$file" "$release/$FC_VERSION/$file" ||
                die "$release/$FC_VERSION/$file could not be fetched; without a network, set FUSE_MIRROR"
        done
    fi
    (cd "$work" && sha256sum --quiet -c "$name.tgz.sha256.txt") >&2 || die "$name.tgz does not have the checksum of its release"
    tar -xzf "$work/$name.tgz" -C "$work" --no-same-owner
    local program file
    for program in firecracker jailer; do
        file=$work/release-$FC_VERSION-$(machine)/$program-$FC_VERSION-$(machine)
        [ -f "$file" ] || die "$name.tgz has no $program"
        put 755 "$file" "$bin/$program" || true
    done
    mkdir -p "$FC_DIR"
    {
        echo "# $name"
        sha256sum "$bin/firecracker" "$bin/jailer"
    } | put_text 644 "$FC_DIR/firecracker.sha256" || true
    say "firecracker $FC_VERSION: installed"
}

# A plain Debian, as an archive, so that it can be unpacked and added to without root.
install_rootfs() {
    local base
    base=base-$FUSE_SUITE-$(architecture).tar
    if checked "$FC_DIR" "$base"; then
        say "base root file system: there already"
        return
    fi
    mkdir -p "$FC_DIR"
    rm -f "$FC_DIR/$base" "$FC_DIR/SHA256SUMS"
    if [ -n "$FUSE_MIRROR" ]; then
        checked "$FUSE_MIRROR/rootfs" "$base" || die "$FUSE_MIRROR/rootfs has no $base that matches its SHA256SUMS; fc-mirror.sh fills a mirror"
        cp "$FUSE_MIRROR/rootfs/$base" "$FC_DIR/$base.new"
    else
        say "base root file system: installing $FUSE_SUITE from Debian's packages (some minutes)"
        "$here/fc-base.sh" "$FC_DIR/$base.new"
    fi
    mv "$FC_DIR/$base.new" "$FC_DIR/$base"
    (cd "$FC_DIR" && sha256sum "$base" >SHA256SUMS)
    say "base root file system: installed ($(du -h "$FC_DIR/$base" | cut -f1))"
}

[ -z "$firecracker" ] || install_firecracker
"$here/build-initramfs.sh" ${fused[@]+"${fused[@]}"} --packages "$FC_DIR/packages" "$FC_DIR/boot"
[ -z "$rootfs" ] || install_rootfs

why=$(kvm_missing)
if [ -n "$why" ]; then
    say "KVM: $why. Firecracker needs it; QEMU also runs without, many times slower"
else
    say "KVM: there"
fi
