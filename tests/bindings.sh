#!/usr/bin/env bash
# The Python and Node packages: packed from what the workspace's build made, installed where nothing else is, tested there.
# usage: tests/bindings.sh FOLDER-WITH-THE-LIBRARIES     such as target/debug/deps, after `cargo test --workspace`
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
target=${CARGO_TARGET_DIR:-$root/target}
libraries=${1:-$target/debug/deps}
# Where the program is built too, the orchestrator is tested behind the REST API as well.
if [ -x "$libraries/../fuse" ]; then
    export FUSE_PROGRAM=$libraries/../fuse
fi
# The scenarios of the orchestrator are played on this.
if [ -x "$libraries/../examples/stage" ]; then
    export FUSE_STAGE=$libraries/../examples/stage
fi
work=$target/bindings
mkdir -p "$work"
# shellcheck source=tests/vms.sh
source tests/vms.sh
prepare_vms "$libraries/../fuse" "$target/tmp/bindings-vms"

# shellcheck source=bindings/tools.sh
source bindings/tools.sh
echo "bindings: $(python3 --version), Node $(node --version)"

dist=$work/dist
rm -rf "$dist"
pack "$libraries" "$dist"

echo "bindings: the wheel in an empty environment"
python3 -m venv --clear "$work/empty"
"$work/empty/bin/pip" install --quiet --disable-pip-version-check --no-index "$dist"/*.whl
python3 tests/readme-snippet.py bindings/python/README.md code > "$work/readme.py"
(cd "$work" && empty/bin/python readme.py) | diff - <(python3 tests/readme-snippet.py bindings/python/README.md output)

# Who builds from source gets the same package: what maturin says of it is what was packed.
rm -rf "$work/metadata"
(cd bindings/python && "$tools/bin/maturin" pep517 write-dist-info --quiet --metadata-directory "$work/metadata" \
    --interpreter "$tools/bin/python" >/dev/null)
said() { sed '/^$/q' "$1"/METADATA | grep -E '^(Name|Version|Summary|License-Expression|Requires-Python|Classifier): ' | sort; }
diff <(said "$work"/metadata/*.dist-info) <(said "$(echo "$work"/empty/lib/python3*/site-packages/fuse_runtime-*.dist-info)")

echo "bindings: the tarball in an empty project"
rm -rf "$work/project"
mkdir "$work/project"
python3 tests/readme-snippet.py bindings/node/README.md code > "$work/project/readme.mjs"
(
    cd "$work/project"
    npm init --yes --silent >/dev/null
    npm install --silent --no-audit --no-fund --offline "$dist"/*.tgz
    node readme.mjs
) | diff - <(python3 tests/readme-snippet.py bindings/node/README.md output)

echo "bindings: the Python package, its types and its documentation"
"$tools/bin/pip" install --quiet --disable-pip-version-check --no-index --force-reinstall "$dist"/*.whl
(
    cd bindings/python
    python3 make_async.py --check
    # The sources are not on the path: what is tested is what was installed.
    "$tools/bin/pytest" --quiet tests --pyargs fuse_runtime
    "$tools/bin/mypy" --no-incremental
    "$tools/bin/mypy" --no-incremental --strict tests/typing_check.py
    "$tools/bin/python" -m mypy.stubtest fuse_runtime._fuse
    "$tools/bin/pyright" --pythonpath "$tools/bin/python"
)

echo "bindings: the Node package"
(
    cd bindings/node
    # Tests import the package by its name: the one that was packed.
    rm -rf node_modules/fuse-runtime
    ln -s "$work/project/node_modules/fuse-runtime" node_modules/fuse-runtime
    node --expose-gc --test --test-reporter=dot test/*.test.mjs
    node_modules/.bin/tsd
)

echo "bindings: the examples, compared with those in Rust"
ln -sfn "$work/project/node_modules" examples/node_modules
(
    cd examples/frames/node
    if ! cmp -s package-lock.json node_modules/.lock; then
        npm ci --silent --no-audit --no-fund
        cp package-lock.json node_modules/.lock
    fi
)
picture() { head -c 8 "$1" | cmp -s - <(printf '\211PNG\r\n\032\n') || { echo "bindings: $1 is no picture" >&2; exit 1; } ; }
for example in camera_compress camera_filter_compress; do
    for language in python node; do
        out=$work/examples/$example-$language
        rm -rf "$out"
        mkdir -p "$out"
        case $language in
        python)
            "$tools/bin/python" "examples/$example/python/$example.py" "$out" >"$out.log"
            picture "$out/ratio.png"
            ;;
        node)
            node "examples/$example/node/$example.mjs" "$out" >"$out.log"
            picture "$out/contact_sheet.png"
            ;;
        esac
        diff "examples/$example/expected.tsv" "$out/summary.tsv"
    done
done
# The story of the sandbox: on the stub, as in Rust, and on real VMs of this machine, from the same program.
sandbox() {
    local language=$1 vms=$2 told=$work/examples/sandbox-$1.txt
    case $language in
    python) FUSE_HOST_DATA=$vms "$tools/bin/python" -W ignore examples/sandbox/python/sandbox.py ;;
    node) FUSE_HOST_DATA=$vms node --no-warnings examples/sandbox/node/sandbox.mjs ;;
    rust) FUSE_HOST_DATA=$vms "$libraries/../sandbox" ;;
    esac | story "$told"
    diff "examples/sandbox/expected/$3.txt" "$told"
}
for language in python node rust; do
    sandbox "$language" "$work/no-vms" stub
done
if [ -n "${FUSE_TEST_VMS:-}" ]; then
    # cargo has tested the one in Rust so.
    for language in python node; do
        sandbox "$language" "$FUSE_TEST_VMS" vms
    done
fi

echo "bindings: the notebook"
"$tools/bin/python" examples/notebook/run.py "$work/notebook"

echo "bindings: the web services"
(
    cd examples/service/node
    if ! cmp -s package-lock.json node_modules/.lock; then
        npm ci --silent --no-audit --no-fund
        cp package-lock.json node_modules/.lock
    fi
    rm -f node_modules/fuse-runtime
    node --test --test-reporter=dot service.test.mjs
)
(cd examples/service/python && "$tools/bin/pytest" --quiet -p no:cacheprovider .)
