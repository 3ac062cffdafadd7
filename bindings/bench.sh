#!/usr/bin/env bash
# The bindings' benchmarks: Python and Node beside the Rust API, the wasmtime package of PyPI and Node's own WebAssembly.
# usage: bindings/bench.sh FOLDER [--quick]     the folder has the libraries and the program fuse-bench, of a release build
# for figures that mean something; with --quick the counts are so small that they mean nothing
set -euo pipefail
folder=$(cd "$1" && pwd)
shift
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
work=$target/bindings
mkdir -p "$work" "$target/bench"
# shellcheck source=bindings/tools.sh
source bindings/tools.sh
dist=$work/bench-dist
rm -rf "$dist"
pack "$folder" "$dist"
if [ ! -x "$work/bench/bin/python" ]; then
    python3 -m venv "$work/bench"
fi
"$work/bench/bin/pip" install --quiet --disable-pip-version-check wasmtime==50.0.1
"$work/bench/bin/pip" install --quiet --disable-pip-version-check --no-index --force-reinstall "$dist"/*.whl
rm -rf "$work/bench-package"
mkdir "$work/bench-package"
tar -xzf "$dist"/*.tgz -C "$work/bench-package" --strip-components=1
echo "bindings: measuring Python, then Node; about a minute each"
"$work/bench/bin/python" bindings/bench/bench.py "$folder/fuse-bench" "$@" >"$target/bench/python.json"
node bindings/bench/bench.mjs "$work/bench-package" "$folder/fuse-bench" "$@" >"$target/bench/node.json"
python3 bindings/bench/report.py "$target/bench/python.json" "$target/bench/node.json" | tee "$target/bench/bindings.md"
