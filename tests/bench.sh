#!/usr/bin/env bash
# The benchmarks. Figures are ratios against a rival in the same run; the tables go to target/bench.
set -euo pipefail
cd "$(dirname "$0")/.."
echo "bench: building (the first time takes some minutes)"
cargo build --quiet --release --workspace --bin fuse-bench
"${CARGO_TARGET_DIR:-target}/release/fuse-bench" "$@"
if [ $# = 0 ]; then
    cargo build --quiet --release --workspace --lib
    bindings/bench.sh "${CARGO_TARGET_DIR:-target}/release"
fi
