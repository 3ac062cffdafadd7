#!/usr/bin/env bash
# The wheel and the npm tarball as they are released, in target/dist.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
work=$target/bindings
mkdir -p "$work"
# shellcheck source=bindings/tools.sh
source bindings/tools.sh
# The whole workspace is selected everywhere, so that dependencies get one set of features and are built once.
cargo build --quiet --release --workspace --lib
pack "$target/release" "$target/dist"
