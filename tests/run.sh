#!/usr/bin/env bash
# All tests, in the order in which they fail fastest. Each step is named and timed; the first failure ends the run.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
export CARGO_INCREMENTAL=0
began=$SECONDS

# `make soak`: the long forms of the same tests.
if [ -n "${FUSE_SOAK:-}" ]; then
    export FUSE_CRASH_CYCLES=1000 FUSE_DAMAGE_FLIPS=5000 FUSE_SIM_SEEDS=1000000 FUSE_SIM_LARGE=1000 FUZZ_SECONDS=3600 FUSE_SERVER_KILLS=1000 FUSE_SCHEMA_EXAMPLES=500
fi

# VMs outlive who started them; what a failed test leaves behind must not run on.
end_stray_vms() {
    local pid
    for pid in $(pgrep -f 'firecracker .*--id|qemu-system.* -M microvm'); do
        case $(readlink "/proc/$pid/cwd") in *"(deleted)" | "$CARGO_TARGET_DIR"/tmp/*) kill -9 "$pid" || true ;; esac
    done
}
trap end_stray_vms EXIT

step() {
    local name=$1 start=$SECONDS
    shift
    printf '\n=== %s\n' "$name"
    "$@"
    printf -- '--- %s: %d s\n' "$name" $((SECONDS - start))
}

step "set-up" tests/setup.sh test
step "formatting" cargo fmt --all --check
mapfile -t scripts < <(git ls-files '*.sh')
step "shell scripts" shellcheck -x "${scripts[@]}" .ci/run host-agent/scripts/tests/systemctl
step "licences, bans and sources" target/tools/bin/cargo-deny --log-level error check bans licenses sources
step "licences of the flight library" target/tools/bin/cargo-deny --log-level error --manifest-path fuse-ffi/flight/Cargo.toml --config deny.toml check bans licenses sources
step "bill of materials" tests/sbom.sh "$CARGO_TARGET_DIR/sbom"
# The guest agent, small and static as guests get it, and what boots with it: the VM tests run inside of it.
FUSE_TEST_FUSED=$(host-agent/scripts/build-fused.sh)
export FUSE_TEST_FUSED FUSE_TEST_GUEST=$CARGO_TARGET_DIR/guest-image
step "kernel and initramfs for guests" host-agent/scripts/build-initramfs.sh --fused "$FUSE_TEST_FUSED" "$FUSE_TEST_GUEST"
# Everything below selects the whole workspace, so that dependencies get one set of features and are built once.
step "tests" env FUSE_SIM_SEEDS=100 FUSE_SIM_LARGE=0 cargo test --quiet --workspace
# Thousands of fleets: here the control plane is worth optimising, and nowhere else is.
step "simulated fleets" cargo test --quiet --workspace --test simulator \
    --config 'profile.dev.package.fuse-orchestrator.opt-level=2'
step "libfuse: the examples in C and C++" tests/abi/examples.sh "$CARGO_TARGET_DIR/debug/deps"
step "libfuse: packaging" tests/abi/package/check.sh "$CARGO_TARGET_DIR/debug/deps"
step "bindings: Python and Node" tests/bindings.sh "$CARGO_TARGET_DIR/debug/deps"
step "modules: rebuilt, the same byte for byte" tests/modules-check.sh
# The tests have built the program `fuse`.
step "flight library: symbols, size, memory, bare metal, FreeRTOS" tests/flight/check.sh "$CARGO_TARGET_DIR/debug/fuse"
step "host scripts, each twice" env FUSE_TEST_AGENT="$CARGO_TARGET_DIR/debug/fuse-host-agent" \
    FUSE_TEST_FUSE="$CARGO_TARGET_DIR/debug/fuse" host-agent/scripts/tests/run.sh
step "a fleet of two machines" python3 -B tests/hosts/two_hosts.py "$CARGO_TARGET_DIR/debug/fuse" \
    "$CARGO_TARGET_DIR/debug/fuse-host-agent" "$FUSE_TEST_GUEST" "$CARGO_TARGET_DIR/tmp"
step "server: published clients, answers against the description" tests/server.sh "$CARGO_TARGET_DIR/debug/fuse"
step "upgrade and back, under a VM that runs" tests/upgrade.sh "$CARGO_TARGET_DIR/debug"
step "fuzzing" tests/fuzz.sh "${FUZZ_SECONDS:-8}"
step "lints" cargo clippy --quiet --workspace --all-targets -- -D warnings
step "documentation" env RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --no-deps
printf '\nAll passed in %d s.\n' $((SECONDS - began))
