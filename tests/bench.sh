#!/usr/bin/env bash
# The benchmarks. Figures are ratios against a rival in the same run; the tables go to target/bench.
set -euo pipefail
cd "$(dirname "$0")/.."
echo "bench: building (the first time takes some minutes)"
cargo build --quiet --release --workspace --bin fuse-bench
"${CARGO_TARGET_DIR:-target}/release/fuse-bench" "$@"
mkdir -p "${CARGO_TARGET_DIR:-target}/bench"
cargo bench --quiet --workspace --bench orchestrator -- --json "${CARGO_TARGET_DIR:-target}/bench/orchestrator.json"
echo
echo "The server: the HTTP layer beside the library, over loopback."
FUSE_OHA=$(tests/load-generator.sh) cargo bench --quiet --workspace --bench http | tee "${CARGO_TARGET_DIR:-target}/bench/server.txt"
# The VM part: Firecracker (tests/setup.sh test gets it) and KVM, QEMU and a guest; it says so where one of them is missing.
FUSE_TEST_GUEST=${FUSE_TEST_GUEST:-$(realpath -m "${CARGO_TARGET_DIR:-target}/guest-image")}
export FUSE_TEST_GUEST
host-agent/scripts/build-initramfs.sh --fused "$(host-agent/scripts/build-fused.sh)" "$FUSE_TEST_GUEST"
cargo bench --quiet --workspace --bench vms | tee "${CARGO_TARGET_DIR:-target}/bench/vms.txt"
cargo build --quiet --release --workspace --lib
bindings/bench.sh "${CARGO_TARGET_DIR:-target}/release"
