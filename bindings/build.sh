#!/usr/bin/env bash
# The wheel and the npm tarball as they are released, in target/dist.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
work=$target/bindings
mkdir -p "$work"
# shellcheck source=bindings/tools.sh
source bindings/tools.sh
cargo build --quiet --release -p fuse-python -p fuse-node
pack "$target/release" "$target/dist"
