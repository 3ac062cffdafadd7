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
    need python3 python3
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
    need /usr/lib/postgresql/15/bin/postgres postgresql-15
    need cpio cpio          # the guests of the VM tests
    need fakeroot fakeroot
    need mke2fs e2fsprogs
    need mmdebstrap mmdebstrap
    need zstd zstd
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
            echo 'deb http://deb.debian.org/debian bookworm-backports main' | as_root tee /etc/apt/sources.list.d/fuse-backports.list >/dev/null
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
