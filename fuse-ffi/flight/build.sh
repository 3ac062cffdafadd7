#!/usr/bin/env bash
# Builds libfuse-flight.a for this machine, or for FLIGHT_TARGET, into a folder.
# usage: build.sh OUT [CARGO OPTION ...]   (--features pulley: with the interpreter)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
target=${CARGO_TARGET_DIR:-$root/target}/flight-build
triple=${FLIGHT_TARGET:-}

# The same bytes wherever the sources lie, and no path of this machine in the messages of a panic. The outliner puts
# sequences of instructions that repeat into functions of their own.
homes="--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}/registry/src/= --remap-path-prefix=$root/="
sysroot=$(rustc --print sysroot)
export CARGO_TARGET_DIR=$target CARGO_INCREMENTAL=0
export RUSTFLAGS="$homes --remap-path-prefix=$sysroot/lib/rustlib/src/rust/library/=std/ -C llvm-args=-enable-machine-outliner=always ${FLIGHT_RUSTFLAGS:-}"
cargo build --quiet --locked --release --manifest-path "$here/Cargo.toml" ${triple:+--target "$triple"} "$@"

# Nothing unwinds: what the prebuilt parts of the standard library brought for it is not kept.
OBJCOPY=${OBJCOPY:-objcopy}
"$OBJCOPY" --strip-debug --remove-section=.eh_frame --remove-section=.rela.eh_frame --remove-section=.comment \
    "$target/${triple:+$triple/}release/libfuse_flight.a" "$out/libfuse-flight.a"
