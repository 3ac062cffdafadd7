#!/usr/bin/env bash
# The bindings' benchmarks: Python beside the wasmtime package of PyPI, Node beside its own WebAssembly.
# usage: bindings/bench.sh FOLDER-WITH-THE-LIBRARIES     release ones, for figures that mean something
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
work=$target/bindings
mkdir -p "$work" "$target/bench"
# shellcheck source=bindings/tools.sh
source bindings/tools.sh
rm -rf "$work/bench-dist"
pack "$1" "$work/bench-dist"
python3 -m venv --clear "$work/bench"
"$work/bench/bin/pip" install --quiet --disable-pip-version-check wasmtime==50.0.1 "$work"/bench-dist/*.whl
rm -rf bindings/node/node_modules/fuse-runtime
ln -sfn .. bindings/node/node_modules/fuse-runtime
{
    "$work/bench/bin/python" bindings/python/bench.py
    node bindings/node/bench.mjs
} | tee "$target/bench/bindings.txt"
