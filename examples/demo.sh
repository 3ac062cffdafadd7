#!/usr/bin/env bash
# Runs the examples one after the other and says where their pictures are.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
echo "demo: building (the first time takes some minutes)"
cargo build --quiet --release --workspace --bin camera_compress --bin camera_filter_compress --bin sandbox
for example in camera_compress camera_filter_compress; do
    echo
    "$target/release/$example" --out "$target/demo/$example"
done
echo
echo "sandbox: one environment from provision to destroy, on the stub provider"
"$target/release/sandbox"
echo
echo "demo: pictures of all frames with their verdicts: $target/demo/*/contact_sheet.png"
