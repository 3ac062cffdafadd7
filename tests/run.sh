#!/usr/bin/env bash
# All tests, in the order in which they fail fastest. Each step is named and timed; the first failure ends the run.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
export CARGO_INCREMENTAL=0
began=$SECONDS

# `make soak`: the long forms of the same tests.
if [ -n "${FUSE_SOAK:-}" ]; then
    export FUSE_CRASH_CYCLES=1000 FUSE_DAMAGE_FLIPS=5000 FUSE_SIM_SEEDS=1000000 FUSE_SIM_LARGE=1000 FUZZ_SECONDS=3600
fi

step() {
    local name=$1 start=$SECONDS
    shift
    printf '\n=== %s\n' "$name"
    "$@"
    printf -- '--- %s: %d s\n' "$name" $((SECONDS - start))
}

step "set-up" tests/setup.sh test
step "formatting" cargo fmt --all --check
step "shell scripts" shellcheck tests/*.sh tests/no-std/*.sh examples/*.sh bindings/*.sh .ci/run
step "licences, bans and sources" target/tools/bin/cargo-deny --log-level error check bans licenses sources
step "bill of materials" tests/sbom.sh "$CARGO_TARGET_DIR/sbom"
# Everything below selects the whole workspace, so that dependencies get one set of features and are built once.
step "tests" cargo test --quiet --workspace
step "bindings: the libraries of Python and Node" cargo build --quiet --workspace --lib
step "bindings: Python and Node" tests/bindings.sh debug
step "modules: rebuilt, the same byte for byte" tests/modules-check.sh
# The tests have built the program `fuse`.
step "without std: symbols, size, a run from C" tests/no-std/check.sh "$CARGO_TARGET_DIR/debug/fuse"
step "fuzzing" tests/fuzz.sh "${FUZZ_SECONDS:-8}"
step "lints" cargo clippy --quiet --workspace --all-targets -- -D warnings
step "documentation" env RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --no-deps
printf '\nAll passed in %d s.\n' $((SECONDS - began))
