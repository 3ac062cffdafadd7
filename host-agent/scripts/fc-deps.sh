#!/usr/bin/env bash
# Installs the Debian packages that a host needs. Does nothing when they are all there.
# usage: fc-deps.sh [--list]
# With FUSE_MIRROR they come from $FUSE_MIRROR/debian. A host without KVM gets QEMU too, on Debian 12 from its backports, since
# its own is too old for snapshots.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=host-agent/scripts/lib.sh
source "$here/lib.sh"

packages=(ca-certificates cpio curl e2fsprogs fakeroot iproute2 lz4 mmdebstrap nftables python3 xz-utils zstd)
case ${1:-} in
--list) printf '%s\n' "${packages[@]}"; exit 0 ;;
'') ;;
*) die "usage: fc-deps.sh [--list]" ;;
esac

# Without KVM it is QEMU that runs the VMs.
install_qemu() {
    local from=()
    if [ -z "$(kvm_missing)" ] || command -v "qemu-system-$(machine)" >/dev/null 2>&1; then
        return
    fi
    if [ -n "$FUSE_MIRROR" ]; then
        say "there is no KVM and no QEMU, and a mirror has none: no VM will boot here"
        return
    fi
    if [ "$FUSE_SUITE" = bookworm ]; then
        from=(-t bookworm-backports)
        if [[ $(apt-cache policy) != *bookworm-backports* ]]; then
            echo 'deb http://deb.debian.org/debian bookworm-backports main' |
                as_root tee /etc/apt/sources.list.d/fuse-backports.list >/dev/null
        fi
    fi
    say "packages: installing QEMU, since $(kvm_missing)"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        ${from[@]+"${from[@]}"} "qemu-system-$([ "$(machine)" = x86_64 ] && echo x86 || echo arm)" qemu-utils >/dev/null
}

install_qemu
missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
    [ "$status" = "install ok installed" ] || missing+=("$package")
done
if [ ${#missing[@]} = 0 ]; then
    say "packages: all there"
    exit 0
fi
say "packages: installing ${missing[*]}"
if [ -n "$FUSE_MIRROR" ]; then
    files=()
    for package in "${missing[@]}"; do
        files+=("$(fetch_package "$FC_DIR/packages" "$package")")
    done
    as_root env DEBIAN_FRONTEND=noninteractive dpkg -i "${files[@]}" >/dev/null ||
        die "dpkg could not install ${missing[*]}; does $FUSE_MIRROR/debian have what they depend on?"
else
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
say "packages: installed"
