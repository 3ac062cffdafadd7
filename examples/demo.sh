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
echo "sandbox: one environment from provision to destroy"
# Real VMs where QEMU is installed, or Firecracker; else the sandbox itself says that it runs on the stub, and why.
export FUSE_HOST_DATA=${FUSE_HOST_DATA:-$PWD/target/demo/vms}
image=()
if command -v qemu-system-x86_64 qemu-system-aarch64 firecracker >/dev/null; then
    fused=$(host-agent/scripts/build-fused.sh)
    PATH=$PATH:$(dirname "$fused")
    image=(--make-image)
fi
"$target/release/sandbox" ${image[@]+"${image[@]}"}
echo
echo "demo: pictures of all frames with their verdicts: $target/demo/*/contact_sheet.png"
