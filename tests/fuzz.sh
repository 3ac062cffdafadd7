#!/bin/sh
# Runs each fuzz target of the edge runtime for some seconds over the kept corpus, and fails on a crash.
#
#   tests/fuzz.sh [SECONDS] [TARGET...]      default: 10 seconds each, all targets
#
# What a run finds goes into target/fuzz; `KEEP=1` merges what is new and useful into the kept corpus. A crash is kept
# under target/fuzz/crashes; replay it with the command that is printed.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-10}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- artifact policy_json policy_binary app_binary module

if ! command -v c++ >/dev/null; then
    echo "fuzz: libFuzzer is C++ and there is no c++; installing g++"
    if ! { apt-get update -qq && apt-get install -y -qq g++ >/dev/null; }; then
        echo "fuzz: cannot install g++ (are you root?); install a C++ compiler and run this again" >&2
        exit 1
    fi
fi

# Only the workspace's own crates are instrumented, and `--workspace` gives dependencies the features that they have
# everywhere else: so the engine need not be built for fuzzing alone.
RUSTC_WORKSPACE_WRAPPER="$PWD/tests/fuzz-rustc.sh"
export RUSTC_WORKSPACE_WRAPPER
target=${CARGO_TARGET_DIR:-target}
cargo build --quiet --workspace --features fuse-edge-fuzz/libfuzzer \
    --bin artifact --bin policy_json --bin policy_binary --bin app_binary --bin module
mkdir -p "$target/fuzz/crashes"
for name in "$@"; do
    kept=fuse-core/edge/fuzz/corpus/$name
    found=$target/fuzz/corpus/$name
    crashes=$target/fuzz/crashes/$name-
    mkdir -p "$found"
    # Rust's own memory limit would hide the engine's: modules reserve what their policy allows.
    if ! "$target/debug/$name" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 -max_len=4096 \
        -artifact_prefix="$crashes" -print_final_stats=1 "$found" "$kept" >"$target/fuzz/$name.log" 2>&1; then
        tail -n 40 "$target/fuzz/$name.log"
        echo "fuzz: $name failed; the input is in $crashes*; replay it: $target/debug/$name FILE" >&2
        exit 1
    fi
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$target/fuzz/$name.log")
    covered=$(sed -n 's/.* cov: \([0-9]*\).*/\1/p' "$target/fuzz/$name.log" | tail -n 1)
    echo "fuzz: $name ok, $runs runs in $seconds s, $covered edges"
    if [ -n "${KEEP:-}" ]; then
        "$target/debug/$name" -set_cover_merge=1 -max_len=4096 "$kept" "$found" >/dev/null 2>&1
    fi
done
