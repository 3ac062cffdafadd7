#!/usr/bin/env bash
# Builds the guest agent, statically linked and small, and prints where it is. Root is not needed.
# usage: build-fused.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

target=$(uname -m)-unknown-linux-gnu
directory=${CARGO_TARGET_DIR:-$PWD/target}
# With --target the flags hold for the agent alone, not for the programs that the build runs.
RUSTFLAGS="-C target-feature=+crt-static" cargo build --quiet --profile guest -p fused --target "$target" >&2
fused=$directory/$target/guest/fused

# What docs/SPECIFICATION.md promises.
size=$(stat -c %s "$fused")
[ "$size" -lt 4000000 ] || { echo "fuse: error: $fused has $size bytes; it must stay under 4,000,000" >&2; exit 1; }
segments=$(readelf -lW "$fused")
if [[ $segments == *INTERP* ]]; then
    echo "fuse: error: $fused is not static" >&2
    exit 1
fi
echo "$fused"
