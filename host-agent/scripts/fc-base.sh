#!/usr/bin/env bash
# Makes a plain Debian root file system as an archive, out of Debian's signed packages. Root is not needed where the kernel
# gives users namespaces.
# usage: fc-base.sh FILE.tar
# FC_ROOTFS_PACKAGES   packages beside the smallest set (comma between them)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=host-agent/scripts/lib.sh
source "$here/lib.sh"

[ $# = 1 ] || die "usage: fc-base.sh FILE.tar"
need mmdebstrap mmdebstrap
packages=${FC_ROOTFS_PACKAGES:-ca-certificates,curl,iproute2,procps}
# The hook is run by mmdebstrap's shell, whose $1 is the root. What a VM has no use for is left out; machine ids and host keys are made by the guest itself.
# shellcheck disable=SC2016
mmdebstrap --quiet --variant=minbase --format=tar --include="$packages" \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --customize-hook='rm -f "$1/etc/hostname" "$1/etc/resolv.conf" && : >"$1/etc/machine-id"' \
    "$FUSE_SUITE" "$1"
