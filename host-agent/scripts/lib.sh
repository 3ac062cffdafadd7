# shellcheck shell=bash
# What the scripts of the host agent share. Sourced, not run.
#
# FUSE_ROOT     another root to install below, for packages and tests (default: none, that is /)
# FUSE_MIRROR   a directory with everything that would come from the network (fc-mirror.sh fills one)
# FUSE_DATA     where the host agent keeps VMs, snapshots and images (default: /var/lib/fuse-host-agent)
# FC_DIR        where kernel, initramfs and root file systems are made (default: $FUSE_DATA/build)

FUSE_ROOT=${FUSE_ROOT:-}
FUSE_MIRROR=${FUSE_MIRROR:-}
FUSE_DATA=${FUSE_DATA:-$FUSE_ROOT/var/lib/fuse-host-agent}
FC_DIR=${FC_DIR:-$FUSE_DATA/build}
FUSE_SUITE=${FUSE_SUITE:-bookworm}
# Firecracker's release; the scripts take no other, since snapshots and drivers depend on it.
FC_VERSION=${FC_VERSION:-v1.12.1}

say() { printf '%s\n' "fuse: $*" >&2; }
die() { printf '%s\n' "fuse: error: $*" >&2; exit 1; }

# need COMMAND PACKAGE: says which package is missing.
need() { command -v "$1" >/dev/null 2>&1 || die "$1 is missing; install it: apt-get install $2 (or host-agent/scripts/fc-deps.sh)"; }

# as_root COMMAND…: runs as root, with sudo where we are not.
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# put MODE FILE TARGET: installs a file unless the same is there with the same mode; says what it did. Returns 0 when it
# changed something, 1 when not.
put() {
    if [ -f "$3" ] && cmp -s "$2" "$3" && [ "$(stat -c %a "$3")" = "$1" ]; then
        return 1
    fi
    mkdir -p "$(dirname "$3")"
    install -m "$1" "$2" "$3.new"
    mv "$3.new" "$3"
    say "$3: installed"
}

# put_text MODE TARGET: the same for what comes on standard input.
put_text() {
    local text changed=0
    text=$(mktemp)
    cat >"$text"
    put "$1" "$text" "$2" || changed=1
    rm -f "$text"
    return "$changed"
}

# secret BYTES: so many random bytes in hex.
secret() { head -c "$1" /dev/urandom | od -An -v -tx1 | tr -d ' \n'; }

# checked DIRECTORY FILE: whether a file of a directory is what its SHA256SUMS says.
checked() { (cd "$1" && grep -F "  $2" SHA256SUMS 2>/dev/null | sha256sum --quiet -c - >/dev/null 2>&1); }

# find_fused SCRIPTS: prints where the guest agent is: installed, or built in the repository that the scripts are in.
find_fused() {
    local path
    for path in "$FUSE_ROOT/usr/local/bin/fused" "$(command -v fused || true)"; do
        [ ! -x "$path" ] || { echo "$path"; return; }
    done
    [ -f "$1/../fused/Cargo.toml" ] || die "the guest agent is not installed; --fused names it, host-agent/scripts/build-fused.sh of the repository builds it"
    "$1/build-fused.sh"
}

# The Debian architecture, and the names that others have for it.
architecture() { dpkg --print-architecture; }
machine() { case $(architecture) in amd64) echo x86_64 ;; arm64) echo aarch64 ;; *) die "Fuse runs VMs on amd64 and arm64, not on $(architecture)" ;; esac; }
kernel_meta() { echo "linux-image-cloud-$(architecture)"; }

# kvm: says why there is no KVM; empty when there is. A stock kernel needs more than a /dev/kvm that opens: virtualisation
# by the processor.
kvm_missing() {
    if [ ! -e /dev/kvm ]; then
        echo "there is no /dev/kvm"
    elif ! (exec 3<>/dev/kvm) 2>/dev/null; then
        echo "/dev/kvm does not open for $(id -un); add the user to the group kvm"
    elif [ "$(machine)" = x86_64 ] && ! grep -qwE 'vmx|svm' /proc/cpuinfo; then
        echo "the processor shows no virtualisation (vmx, svm); on a VM, turn on nested virtualisation"
    fi
}

# matching DIRECTORY NAME: the newest .deb of a package in a directory; empty when there is none.
matching() { find "$1" -maxdepth 1 -name "$2_*.deb" 2>/dev/null | sort -V | tail -1; }

# fetch_package DIRECTORY NAME: prints the .deb of a package; takes it from the mirror, else from Debian (whose signatures
# apt checks), when the directory has none.
fetch_package() {
    local directory=$1 name=$2 file
    mkdir -p "$directory"
    file=$(matching "$directory" "$name")
    if [ -z "$file" ] && [ -n "$FUSE_MIRROR" ]; then
        file=$(matching "$FUSE_MIRROR/debian" "$name")
        [ -n "$file" ] || die "$FUSE_MIRROR/debian has no ${name}_*.deb; fc-mirror.sh fills a mirror"
        checked "$FUSE_MIRROR/debian" "$(basename "$file")" || die "$file does not match $FUSE_MIRROR/debian/SHA256SUMS"
        cp "$file" "$directory/"
        file=$(matching "$directory" "$name")
    elif [ -z "$file" ]; then
        need apt-get apt
        (cd "$directory" && apt-get -o APT::Sandbox::User="$(id -un)" download -qq "$name" >&2) ||
            die "apt-get download $name failed; is the package index there (apt-get update)?"
        file=$(matching "$directory" "$name")
    fi
    [ -n "$file" ] || die "$name could not be had"
    echo "$file"
}

# The kernel's package of which the meta package tells, once it is in the directory.
kernel_package() { find "$1" -maxdepth 1 -name 'linux-image-[0-9]*cloud*.deb' 2>/dev/null | sort -V | tail -1; }

# fetch_kernel DIRECTORY: has the newest cloud kernel in a directory.
fetch_kernel() {
    local directory=$1 name
    [ -z "$(kernel_package "$directory")" ] || return 0
    if [ -n "$FUSE_MIRROR" ]; then
        name=$(basename "$(kernel_package "$FUSE_MIRROR/debian")" | cut -d_ -f1)
        [ -n "$name" ] || die "$FUSE_MIRROR/debian has no linux-image-…-cloud-….deb; fc-mirror.sh fills a mirror"
    else
        name=$(apt-cache depends "$(kernel_meta)" 2>/dev/null | awk '/Depends: linux-image/ {print $2; exit}')
        [ -n "$name" ] || die "apt knows no $(kernel_meta); run apt-get update"
    fi
    fetch_package "$directory" "$name" >/dev/null
}
