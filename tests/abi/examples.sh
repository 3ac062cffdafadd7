#!/usr/bin/env bash
# Builds the examples in C and C++ with the library that was just built, and compares what they did with what the ones in
# Rust do.
# usage: examples.sh LIBRARIES   (the folder with libfuse.so)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
libraries=$1
# shellcheck source=tests/vms.sh
source "$here/../vms.sh"
prepare_vms "$libraries/../fuse" "$libraries/../../tmp/examples-vms"
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
ln -s "$libraries/libfuse.so" "$out/libfuse-runtime.so.1"
for example in camera_compress camera_filter_compress; do
    for language in c cpp; do
        make -s -C "$here/../../examples/$example/$language" test OUT="$out/$example/$language" \
            FUSE_CFLAGS="-I$here/../../include" FUSE_LIBS="-L$libraries -lfuse -Wl,-rpath,$out" >"$out/log" || { cat "$out/log"; exit 1; }
        echo "examples: $example in $language: as in Rust"
    done
done
# The life of a sandbox: on the stub, and on real VMs of this machine.
sandbox=$here/../../examples/sandbox
make -s -C "$sandbox/c" OUT="$out/sandbox" FUSE_CFLAGS="-I$here/../../include" FUSE_LIBS="-L$libraries -lfuse -Wl,-rpath,$out"
FUSE_HOST_DATA=$out/none "$out/sandbox/sandbox" "$out/stub" 2>"$out/log" | story "$out/stub.txt" || { cat "$out/log"; exit 1; }
diff "$sandbox/expected/stub.txt" "$out/stub.txt"
grep -q 'warning: environments are only simulated, and isolate nothing: .*fuse image build' "$out/log"
if [ -n "${FUSE_TEST_VMS:-}" ]; then
    FUSE_HOST_DATA=$FUSE_TEST_VMS "$out/sandbox/sandbox" "$out/vms" | story "$out/vms.txt"
    diff "$sandbox/expected/vms.txt" "$out/vms.txt"
fi
echo "examples: sandbox in c: as in Rust${FUSE_TEST_VMS:+, on real VMs too}"
