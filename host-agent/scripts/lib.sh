# shellcheck shell=bash
# What the scripts of the host agent share. Sourced, not run.

say() { printf '%s\n' "fuse: $*" >&2; }
die() { printf '%s\n' "fuse: error: $*" >&2; exit 1; }

# need COMMAND PACKAGE: says which package is missing.
need() { command -v "$1" >/dev/null 2>&1 || die "$1 is missing; install it: apt-get install $2 (or host-agent/scripts/fc-deps.sh)"; }

# The Debian architecture and the kernel's package for it.
architecture() { dpkg --print-architecture; }
kernel_meta() { case $(architecture) in amd64) echo linux-image-cloud-amd64 ;; arm64) echo linux-image-cloud-arm64 ;; *) die "no kernel for $(architecture)" ;; esac; }

# matching DIRECTORY NAME: the newest .deb of a package in a directory; empty when there is none.
matching() { find "$1" -maxdepth 1 -name "$2_*.deb" 2>/dev/null | sort -V | tail -1; }

# fetch_package DIRECTORY NAME: prints the .deb of a package; takes it from the mirror, else from Debian (whose signatures
# apt checks), when the directory has none.
fetch_package() {
    local directory=$1 name=$2 file
    mkdir -p "$directory"
    file=$(matching "$directory" "$name")
    if [ -z "$file" ] && [ -n "${FUSE_MIRROR:-}" ]; then
        file=$(matching "$FUSE_MIRROR/debian" "$name")
        [ -n "$file" ] || die "$FUSE_MIRROR/debian has no ${name}_*.deb; docs/bare-host.md says how a mirror is filled"
        (cd "$FUSE_MIRROR/debian" && grep -F "  $(basename "$file")" SHA256SUMS | sha256sum --quiet -c -) >&2 ||
            die "$file does not match $FUSE_MIRROR/debian/SHA256SUMS"
        cp "$file" "$directory/"
        file=$(matching "$directory" "$name")
    elif [ -z "$file" ]; then
        need apt-get apt
        (cd "$directory" && apt-get download -qq "$name" >&2) || die "apt-get download $name failed; is the package index there (apt-get update)?"
        file=$(matching "$directory" "$name")
    fi
    [ -n "$file" ] || die "$name could not be had"
    echo "$file"
}

# The kernel's package of which the meta package tells, once it is in the directory.
kernel_package() { find "$1" -maxdepth 1 -name 'linux-image-[0-9]*cloud*.deb' | sort -V | tail -1; }

# fetch_kernel DIRECTORY: has the newest cloud kernel in a directory.
fetch_kernel() {
    local directory=$1 name
    [ -z "$(kernel_package "$directory")" ] || return 0
    if [ -n "${FUSE_MIRROR:-}" ]; then
        name=$(basename "$(find "$FUSE_MIRROR/debian" -maxdepth 1 -name 'linux-image-[0-9]*cloud*.deb' | sort -V | tail -1)" | cut -d_ -f1)
        [ -n "$name" ] || die "$FUSE_MIRROR/debian has no linux-image-…-cloud-….deb"
    else
        name=$(apt-cache depends "$(kernel_meta)" 2>/dev/null | awk '/Depends: linux-image/ {print $2; exit}')
        [ -n "$name" ] || die "apt knows no $(kernel_meta); run apt-get update"
    fi
    fetch_package "$directory" "$name" >/dev/null
}
