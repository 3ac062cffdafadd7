#!/usr/bin/env bash
# Builds the guest agent, statically linked and small, and prints where it is. Root is not needed.
# usage: build-fused.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

target=$(uname -m)-unknown-linux-gnu
directory=${CARGO_TARGET_DIR:-$PWD/target}
# With --target the flags hold for the agent alone, not for the programs that the build runs.
RUSTFLAGS="-C target-feature=+crt-static" cargo build --quiet --profile guest -p fused --target "$target" >&2
echo "$directory/$target/guest/fused"
